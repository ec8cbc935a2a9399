//! `full-nat`, `dsr-gue` and tunnels across families, with real clients and servers: requests, downloads and uploads.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::http;
use lb_tests::lab::wait_until;
use lb_tests::site::{HTTP_PORT, Mode};
use lb_tests::upload::upload;
use lb_userspace::api::types::Status;

use super::bed::{Bed, SOON};
use super::decap;

/// Addresses that `full-nat` sends from, in the networks of the web servers.
const SNAT: [&str; 2] = ["10.0.0.50", "2001:db8:3::50"];

/// Time until closed sessions are gone: ten seconds of silence, and the next sweep; a client that resets one leaves it half
/// closed for a minute.
const ENDS: Duration = Duration::from_secs(90);

/// Two megabytes.
const DOWNLOAD: &str = "/bytes/2000000";

/// A bit more than one megabyte, in chunks of 16 KiB.
const UPLOAD_CHUNKS: usize = 64;

/// Time for a transfer: a lost packet is repeated, a black hole lasts.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Which address of the web servers a pool has.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
    /// The first server by IPv4 and the second by IPv6.
    Mixed,
    Both,
}

/// The configuration with one pool, of `mode` and with more keys, that serves both VIPs of `vips`.
fn one_pool(bed: &Bed, mode: &str, family: Family, keys: &str, vips: Mode) -> Result<String> {
    let text = bed.text()?;
    let (head, _) = text.split_once("\n[pools.").context("no pool in the configuration")?;
    let mut backends = String::new();
    for (number, web) in bed.fleet.webs.iter().enumerate() {
        let (v4, v6): (IpAddr, IpAddr) = (web.v4.into(), web.v6.into());
        let addresses: &[IpAddr] = match family {
            Family::V4 => &[v4],
            Family::Mixed if number == 0 => &[v4],
            Family::V6 | Family::Mixed => &[v6],
            Family::Both => &[v4, v6],
        };
        for address in addresses {
            let kind = if address.is_ipv4() { "v4" } else { "v6" };
            let name = web.host.name();
            writeln!(backends, "    {{ name = \"{name}-{kind}\", address = \"{address}\" }},")?;
        }
    }
    let [v4, v6] = vips.vips();
    Ok(format!(
        "{head}\n[pools.web]\nmode = \"{mode}\"\ncheck = \"web\"\n{keys}\nbackends = [\n{backends}]\n\n\
         [services.web]\nvips = [\"{v4}\", \"{v6}\"]\nports = [{HTTP_PORT}]\nprotocol = \"tcp\"\npool = \"web\"\n"
    ))
}

/// Requests to every server, a download and an upload.
fn use_vip(bed: &Bed, vip: IpAddr) -> Result<()> {
    bed.expect_servers_of(vip, &["web1", "web2"])?;
    let server = SocketAddr::new(vip, HTTP_PORT);
    let response = bed
        .fleet
        .client
        .enter(|| http::get(server, DOWNLOAD, None, TIMEOUT))?
        .with_context(|| format!("download from {vip}"))?;
    ensure!(response.status == 200, "{vip}: {}", response.status);
    upload(&bed.fleet.client, vip, UPLOAD_CHUNKS, TIMEOUT).with_context(|| format!("upload to {vip}"))
}

/// Packets that left for a reason.
fn forwarded(status: &Status, reason: &str) -> u64 {
    status.verdicts.iter().find(|verdict| verdict.name == reason).map_or(0, |verdict| verdict.packets)
}

#[test]
fn tunnels_of_either_family_and_gue_carry_requests_downloads_and_uploads() -> Result<()> {
    let mut bed = Bed::shared(2)?;
    for web in &mut bed.fleet.webs {
        web.stop_tunnel_end()?;
    }
    let _ends =
        bed.fleet.webs.iter().map(|web| decap::start(&web.host, "eth0", "")).collect::<Result<Vec<_>>>()?;
    let cases = [
        ("dsr-gue", Family::V4, "dsr-gue"),
        ("dsr-gue", Family::V6, "dsr-gue"),
        ("dsr-gue", Family::Mixed, "dsr-gue"),
        ("dsr-ipip", Family::V4, "dsr-ipip"),
        ("dsr-ipip", Family::V6, "dsr-ipip"),
        ("dsr-ipip", Family::Mixed, "dsr-ipip"),
    ];
    for (mode, family, reason) in cases {
        bed.write(&one_pool(&bed, mode, family, "", Mode::DsrIpip)?)?;
        let lbd = bed.start()?;
        bed.wait_up()?;
        for vip in Mode::DsrIpip.vips() {
            use_vip(&bed, vip).with_context(|| format!("{mode}, {vip}"))?;
        }
        let status: Status = bed.status()?;
        ensure!(forwarded(&status, reason) > 1_000, "{mode}: {:?}", status.verdicts);
        ensure!(lbd.terminate()?.success(), "lbd ended badly");
        bed.run(bed.lbd("remove")?)?.success()?;
    }
    Ok(())
}

#[test]
fn full_nat_carries_requests_downloads_and_uploads_and_its_sessions_end() -> Result<()> {
    let bed = Bed::shared(2)?;
    let [v4, v6] = SNAT;
    let keys = format!("snat = [\"{v4}\", \"{v6}\"]");
    bed.write(&one_pool(&bed, "full-nat", Family::Both, &keys, Mode::Nat)?)?;
    // Backends need no route to the clients through the node: they answer its own addresses.
    for web in &bed.fleet.webs {
        web.host.ip("-4 route del default")?;
        web.host.ip("-6 route del default")?;
    }
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for vip in Mode::Nat.vips() {
        use_vip(&bed, vip)?;
    }
    // They are counted every few seconds, and over a few seconds after their last words.
    let sessions = || -> Result<u64> { Ok(bed.status()?.sessions.entries) };
    wait_until("sessions are shown", SOON, || Ok((sessions()? > 0).then_some(())))?;
    let status: Status = bed.status()?;
    for reason in ["full-nat", "full-nat-reply"] {
        ensure!(forwarded(&status, reason) > 500, "{reason}: {:?}", status.verdicts);
    }
    wait_until("sessions are over", ENDS, || Ok((sessions()? == 0).then_some(())))
}
