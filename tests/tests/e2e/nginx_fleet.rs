//! A fleet of real nginx behind the VIPs: every mode, both address families.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::site::{HTTP_PORT, Mode};

use super::bed::{Bed, SOON, all_vips};
use super::load::Load;

/// Requests of curl to one VIP: each of three servers is seen, except once in 10^10 times.
const CURL_REQUESTS: usize = 60;

/// Time of wrk on the first VIP, and on each of the others.
const WRK_LONG: Duration = Duration::from_secs(10);
const WRK_SHORT: Duration = Duration::from_secs(3);

/// Time from the return of `lbctl backend remove` in which the backend may still answer.
const REMOVAL_BOUND: Duration = Duration::from_millis(100);

/// Answers of each VIP that show where traffic goes.
const ANSWERS: usize = 200;

fn url(vip: IpAddr) -> String {
    format!("http://{}/", SocketAddr::new(vip, HTTP_PORT))
}

/// The servers that answer one curl, which makes a connection for each request.
fn curl(bed: &Bed, vip: IpAddr) -> Result<BTreeSet<String>> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--globoff", "--header", "Connection: close"]);
    command.args(["--max-time", &SOON.as_secs().to_string()]);
    command.args(vec![url(vip); CURL_REQUESTS]);
    let output = bed.fleet.client.run(command, SOON)?.success()?;
    ensure!(output.stdout.lines().count() == CURL_REQUESTS, "{}", output.stdout);
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn curl_sees_all_three_nginx_in_every_mode_and_family() -> Result<()> {
    let bed = Bed::without_servers(3)?;
    let _fleet = bed.nginx_on_every_web()?;
    let _lbd = bed.start()?;
    for vip in all_vips() {
        let seen = curl(&bed, vip)?;
        assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), ["web1", "web2", "web3"], "{vip}");
    }
    Ok(())
}

/// Runs wrk on a VIP; returns how many requests were answered, all of them well.
fn wrk(bed: &Bed, vip: IpAddr, time: Duration) -> Result<u64> {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c50", &format!("-d{}s", time.as_secs()), &url(vip)]);
    let text = bed.fleet.client.run(command, time + SOON)?.success()?.stdout;
    // wrk prints these lines only when there is something to count.
    ensure!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{vip}: {text}");
    let line = text.lines().find(|line| line.contains(" requests in ")).context("no count of requests")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

#[test]
fn wrk_has_no_socket_errors_and_only_good_answers_in_every_mode_and_family() -> Result<()> {
    let bed = Bed::without_servers(3)?;
    let _fleet = bed.nginx_on_every_web()?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for (index, vip) in all_vips().enumerate() {
        let time = if index == 0 { WRK_LONG } else { WRK_SHORT };
        let answered = wrk(&bed, vip, time)?;
        println!("wrk {vip}: {answered} answers in {time:?}");
        ensure!(answered > 1_000, "{vip}: {answered} answers in {time:?}");
    }
    Ok(())
}

#[test]
fn a_removed_backend_serves_nothing_100_ms_later() -> Result<()> {
    let bed = Bed::without_servers(3)?;
    let _fleet = bed.nginx_on_every_web()?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for mode in Mode::ALL {
        let vips = mode.vips();
        // Two clients a VIP, so that one is nearly always asking.
        let load = Load::start(&bed.fleet.client, &[vips[0], vips[0]], SOON);
        load.wait_for_answers(ANSWERS, Instant::now())?;
        let called = Instant::now();
        bed.edit(&format!("backend remove {}-v4/web3", mode.name()))?;
        let returned = Instant::now();
        load.wait_for_answers(ANSWERS, returned + REMOVAL_BOUND)?;
        let requests = load.stop()?;

        let served = requests.iter().filter(|request| request.served_by("web3"));
        let last = served.map(|request| request.ended).max().context("web3 served nothing before")?;
        println!(
            "{}: the removed backend's last answer came {:?} after lbctl's start; lbctl took {:?}",
            mode.name(),
            last.saturating_duration_since(called),
            returned - called
        );
        ensure!(last <= returned + REMOVAL_BOUND, "{}: web3 still answers", mode.name());
        let failed: Vec<_> = requests.iter().filter(|request| request.outcome.is_err()).collect();
        // What was on its way to it may break; each client had one request under way.
        ensure!(
            failed.len() <= 2 && failed.iter().all(|request| request.started <= returned),
            "{}: {failed:?}",
            mode.name()
        );
    }
    Ok(())
}
