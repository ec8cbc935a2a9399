//! A backend is replaced by another machine with the same addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{End, Host, Link};
use lb_tests::site::{Mode, NODE_BACK, NODE_FRONT, start_server};

use super::configuration::{Served, full_nat, gue, serve};
use crate::bed::Bed;
use crate::decap;
use crate::load::Load;

/// Time of one request: a lost packet is not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);

/// Time from the new machine's announcement to the first answer.
const ALLOWED: Duration = Duration::from_secs(1);

/// Answers of each VIP that show that traffic goes on.
const ANSWERS: usize = 50;

#[test]
fn a_backend_with_another_mac_is_followed_within_a_second() -> Result<()> {
    let bed = Bed::alone(1)?;
    let backends = addresses(&bed);
    let mut services = Vec::new();
    for mode in Mode::ALL {
        services.extend(
            mode.vips()
                .into_iter()
                .zip(&backends)
                .map(|(vip, backend)| Served::web(mode.name(), vip, backend)),
        );
    }
    replace(&bed, &services)
}

#[test]
fn a_backend_with_another_mac_is_followed_within_a_second_in_full_nat_and_gue() -> Result<()> {
    let mut bed = Bed::alone(1)?;
    let web = &mut bed.fleet.webs[0];
    web.stop_tunnel_end()?;
    let _end = decap::start(&web.host, "eth0", "")?;
    let backends = addresses(&bed);
    let services: Vec<_> = full_nat(&backends, "tcp").into_iter().chain(gue(&backends)).collect();
    replace(&bed, &services)
}

fn addresses(bed: &Bed) -> [[IpAddr; 1]; 2] {
    let web = &bed.fleet.webs[0];
    [[web.v4.into()], [web.v6.into()]]
}

/// The machine that takes over, set up in full but for its cable, which is not plugged in: it has the addresses of the web
/// server and the VIPs of the direct modes.
fn spare(bed: &Bed) -> Result<(Host, Link)> {
    let web = &bed.fleet.webs[0];
    let spare = bed.fleet.lab.host("spare")?;
    let link = bed.fleet.back.join(End::new(&spare, "eth0").mtu(1_600))?;
    link.cut()?;
    for setting in ["ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/ndisc_notify"] {
        spare.sysctl(&format!("net/{setting}"), "1")?;
    }
    spare.address("eth0", &format!("{}/24", web.v4))?;
    spare.address("eth0", &format!("{}/64", web.v6))?;
    for vip in [Mode::DsrL2, Mode::DsrIpip].into_iter().flat_map(Mode::vips) {
        let (family, bits) = if vip.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
        spare.address("lo", &format!("{vip}/{bits}"))?;
        spare.ip(&format!("{family} rule add from {vip}/{bits} lookup 100"))?;
    }
    spare.hide_loopback_addresses()?;
    for route in [
        "-4 route add default via 10.0.0.2",
        "-6 route add default via 2001:db8:3::2",
        "-4 route add default via 10.0.0.1 table 100",
        "-6 route add default via 2001:db8:3::1 table 100",
    ] {
        spare.ip(route)?;
    }
    Ok((spare, link))
}

/// Replaces the only web server under load.
fn replace(bed: &Bed, services: &[Served<'_>]) -> Result<()> {
    let web = &bed.fleet.webs[0];
    let vips: Vec<IpAddr> = services.iter().map(|service| service.vip).collect();
    let (spare, spare_link) = spare(bed)?;
    let _server = start_server(&spare, "spare")?;
    let _end = decap::start(&spare, "eth0", "")?;
    let _lbd = serve(bed, &[NODE_FRONT, NODE_BACK], "assign", services)?;
    let load = Load::start(&bed.fleet.client, &vips, REQUEST_TIMEOUT);
    load.wait_for_answers(ANSWERS, Instant::now())?;

    web.link.cut()?;
    spare_link.restore()?;
    // With another MAC come its announcements; the kernel of the node knows as soon as they arrive, which here is at once.
    let announced = Instant::now();
    spare.ip("link set dev eth0 address 02:1b:ff:ff:ff:01")?;
    load.wait_for_answers(ANSWERS, announced)?;
    let requests = load.stop()?;
    let mut slowest = Duration::ZERO;
    for vip in vips {
        let served = requests.iter().filter(|request| request.vip == vip && request.served_by("spare"));
        let first =
            served.map(|request| request.ended).min().with_context(|| format!("{vip}: nobody answered"))?;
        let took = first.saturating_duration_since(announced);
        println!("{vip}: {took:?} from the announcement to the first answer");
        slowest = slowest.max(took);
    }
    ensure!(slowest <= ALLOWED, "it took {slowest:?}");
    Ok(())
}
