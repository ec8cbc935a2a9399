//! `lbd decap` on web servers: behind the real node, with packets made by hand, and where it cannot run.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};
use lb_tests::decap_fixtures::{Carrier, Envelope, Family, inner_udp};
use lb_tests::lab::{Frame, Host, Process, wait_until};
use lb_tests::site::{HTTP_PORT, Mode, Web};
use lb_tests::{bins, xdp};
use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};

/// What it logs when packets are taken.
const READY: &str = "lbd decap ready";

/// Time that a request gets which nobody may answer.
const UNANSWERED: Duration = Duration::from_millis(500);

/// An interface beside the site's.
const EXTRA: &str = "extra0";

/// First port of hand-made datagrams: each has one of its own.
const FIRST_PORT: u16 = 41_000;

/// `lbd decap` on `interface` for the VIPs of `dsr-ipip`, with more options.
fn command(interface: &str, options: &str) -> Result<Command> {
    let mut command = Command::new(bins::lbd()?);
    command.args(["decap", "--interface", interface]).args(options.split_whitespace());
    for vip in Mode::DsrIpip.vips() {
        command.arg("--vip").arg(vip.to_string());
    }
    Ok(command)
}

/// Starts it; returns when packets are taken.
pub fn start(host: &Host, interface: &str, options: &str) -> Result<Process> {
    let decap = host.spawn(command(interface, options)?)?;
    decap.wait_for_output(READY, SOON)?;
    Ok(decap)
}

/// What it complains about. Fails when it does not end with a status of failure.
fn refusal(host: &Host, command: Command) -> Result<String> {
    let output = host.run(command, SOON)?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, output.stderr);
    Ok(output.stderr)
}

/// Ends it and returns the counters that it printed at last.
fn counters(decap: &Process) -> Result<Value> {
    let status = decap.terminate()?;
    ensure!(status.success(), "{status}: {}", decap.log_tail());
    let printed = std::fs::read_to_string(decap.stdout_path())?;
    let last = printed.lines().last().context("nothing was printed")?;
    Ok(serde_json::from_str(last)?)
}

fn has_xdp(host: &Host, interface: &str) -> Result<bool> {
    Ok(host.ip(&format!("link show dev {interface}"))?.contains("xdp"))
}

fn log(process: &Process) -> Result<String> {
    Ok(std::fs::read_to_string(process.stderr_path())?)
}

#[test]
fn nginx_behind_lbd_decap_answers_for_the_vips_of_a_dsr_ipip_pool() -> Result<()> {
    let mut bed = Bed::without_servers(2)?;
    let _nginx = bed.nginx_on_every_web()?;
    for web in &mut bed.fleet.webs {
        web.stop_tunnel_end()?;
    }
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for vip in Mode::DsrIpip.vips() {
        ensure!(bed.fleet.get(vip, UNANSWERED).is_err(), "{vip} is answered without a tunnel's end");
    }
    let options = "--source 10.0.0.2 --source 2001:db8:3::2 --json --stats 1";
    let decaps =
        bed.fleet.webs.iter().map(|web| start(&web.host, "eth0", options)).collect::<Result<Vec<_>>>()?;
    for vip in Mode::DsrIpip.vips() {
        bed.expect_servers_of(vip, &["web1", "web2"])?;
    }
    // The other modes go on as before, through the same interface.
    bed.expect_servers(&["web1", "web2"])?;
    for (web, decap) in bed.fleet.webs.iter().zip(&decaps) {
        let log = log(decap)?;
        ensure!(!log.contains("WARN"), "a server that is set up needs no advice: {log}");
        let counters = counters(decap)?;
        ensure!(counters["mode"] == "native" && counters["interface"] == "eth0", "{counters}");
        let frames = |kind: &str, reason: &str| counters["frames"][kind][reason].as_u64().unwrap_or(0);
        ensure!(frames("deliver", "ipv4-in-ipv4") > 0 && frames("deliver", "ipv6-in-ipv6") > 0, "{counters}");
        ensure!(frames("pass", "other-protocol") > 0, "{counters}");
        let drops = counters["frames"]["drop"].as_object().context("no drops")?;
        ensure!(drops.values().all(|count| count == 0), "{counters}");
        ensure!(!has_xdp(&web.host, "eth0")?, "the program stayed on {}", web.host.name());
    }
    ensure!(bed.fleet.get(Mode::DsrIpip.vip_v4().into(), UNANSWERED).is_err(), "answered without lbd decap");
    Ok(())
}

/// The datagram of port `port` to a VIP in every form of tunnel, on Ethernet from the node to `web`.
fn hand_made(bed: &Bed, web: &Web, port: u16, envelope: &Envelope, vip: IpAddr, payload: &[u8]) -> Vec<u8> {
    let client: IpAddr =
        if vip.is_ipv4() { [198, 51, 100, 10].into() } else { [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10].into() };
    let inner = inner_udp(SocketAddr::new(client, port), SocketAddr::new(vip, HTTP_PORT), payload);
    let mut frame = envelope.around(&inner);
    frame[..6].copy_from_slice(&web.link.macs().0);
    frame[6..12].copy_from_slice(&bed.fleet.node_back.macs().0);
    frame
}

/// The port that a server's answer goes to.
fn answered_port(frame: &[u8]) -> Option<u16> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Udp(udp) if udp.source_port() == HTTP_PORT => Some(udp.destination_port()),
        _ => None,
    }
}

/// Every accepted form for both VIPs, with a port of its own.
fn every_form() -> Vec<(u16, Envelope, IpAddr)> {
    let forms = Family::BOTH.into_iter().flat_map(|outer| {
        Carrier::ACCEPTED.into_iter().flat_map(move |carrier| {
            Mode::DsrIpip.vips().map(|vip| (Envelope::new(outer, carrier.clone()), vip))
        })
    });
    (FIRST_PORT..).zip(forms).map(|(port, (envelope, vip))| (port, envelope, vip)).collect()
}

/// Sends every form to the first web server and waits until the client has the answer to each.
fn expect_every_form_answered(bed: &Bed, payload: &[u8]) -> Result<()> {
    let web = &bed.fleet.webs[0];
    let answers = bed.fleet.client.capture("eth0", |frame| answered_port(frame).is_some())?;
    let forms = every_form();
    for (port, envelope, vip) in &forms {
        // At the bridge's port, so that the node's MTU has no say.
        let frame = hand_made(bed, web, *port, envelope, *vip, payload);
        bed.fleet.back.host().inject(web.host.name(), &frame)?;
    }
    let has_all = |frames: &[Frame]| {
        let answered: Vec<u16> = frames.iter().filter_map(|frame| answered_port(&frame.bytes)).collect();
        forms.iter().all(|(port, ..)| answered.contains(port))
    };
    answers.wait_until(SOON, has_all).map(drop)
}

#[test]
fn every_form_of_tunnel_is_taken_in_every_mode_of_attachment() -> Result<()> {
    let mut bed = Bed::shared(1)?;
    bed.fleet.webs[0].stop_tunnel_end()?;
    let host = bed.fleet.webs[0].host.clone();
    for mode in ["native", "generic"] {
        let decap = start(&host, "eth0", &format!("--mode {mode} --json"))?;
        expect_every_form_answered(&bed, b"hello")?;
        let counters = counters(&decap)?;
        let delivered = counters["frames"]["deliver"].as_object().context("no deliveries")?;
        ensure!(counters["mode"] == mode && delivered.len() == 8, "{counters}");
        // GUE has two variants.
        let wanted = |reason: &str| if reason.contains("gue") { 2 } else { 1 };
        ensure!(delivered.iter().all(|(reason, count)| *count == wanted(reason)), "{counters}");
    }
    // Larger than what a driver's buffer holds: the program for frames in pieces has to be taken.
    bed.fleet.back.host().ip("link set dev web1 mtu 9000")?;
    host.ip("link set dev eth0 mtu 9000")?;
    let decap = start(&host, "eth0", "--mode native --json")?;
    expect_every_form_answered(&bed, &[0x5a; 8_000])?;
    let counters = counters(&decap)?;
    ensure!(counters["mode"] == "native-frags", "{counters}");
    Ok(())
}

#[test]
fn tunnels_to_an_address_are_taken_as_soon_as_the_interface_has_it() -> Result<()> {
    let mut bed = Bed::shared(1)?;
    let web = &mut bed.fleet.webs[0];
    web.stop_tunnel_end()?;
    let host = web.host.clone();
    let decap = start(&host, "eth0", "--json")?;
    let late = "10.5.0.11";
    host.address("eth0", &format!("{late}/24"))?;
    decap.wait_for_output(late, SOON)?;
    let answers = bed.fleet.client.capture("eth0", |frame| answered_port(frame) == Some(FIRST_PORT))?;
    let envelope = Envelope { destination: late.parse()?, ..Envelope::new(Family::V4, Carrier::Ip) };
    let vip = Mode::DsrIpip.vip_v4().into();
    let frame = hand_made(&bed, &bed.fleet.webs[0], FIRST_PORT, &envelope, vip, b"to the new address");
    bed.fleet.back.host().inject("web1", &frame)?;
    answers.wait_until(SOON, |frames| !frames.is_empty())?;
    let counters = counters(&decap)?;
    ensure!(counters["frames"]["deliver"]["ipv4-in-ipv4"] == 1, "{counters}");
    Ok(())
}

#[test]
fn a_tunnel_for_another_address_reaches_nobody() -> Result<()> {
    let mut bed = Bed::shared(1)?;
    bed.fleet.webs[0].stop_tunnel_end()?;
    let web = &bed.fleet.webs[0];
    let decap = start(&web.host, "eth0", "--json")?;
    // The server's own address is no VIP, and neither is another service's.
    let others: [IpAddr; 4] =
        [web.v4.into(), web.v6.into(), Mode::DsrL2.vip_v4().into(), Mode::DsrL2.vip_v6().into()];
    let answers = bed.fleet.client.capture("eth0", |frame| answered_port(frame).is_some())?;
    let envelopes: Vec<Envelope> = every_form().into_iter().map(|(_, envelope, _)| envelope).collect();
    let mut sent = 0_u64;
    for envelope in &envelopes {
        for other in others {
            let frame = hand_made(&bed, web, FIRST_PORT, envelope, other, b"not for you");
            bed.fleet.back.host().inject(web.host.name(), &frame)?;
            sent += 1;
        }
    }
    // What comes behind them is answered: so they were not, and not only not yet.
    let (port, envelope, vip) = (FIRST_PORT + 1, &envelopes[0], Mode::DsrIpip.vip_v4().into());
    let frame = hand_made(&bed, web, port, envelope, vip, b"for you");
    bed.fleet.back.host().inject(web.host.name(), &frame)?;
    let frames = answers
        .wait_until(SOON, |frames| frames.iter().any(|frame| answered_port(&frame.bytes) == Some(port)))?;
    ensure!(frames.len() == 1, "{} answers", frames.len());
    let counters = counters(&decap)?;
    ensure!(counters["frames"]["drop"]["not-vip"] == sent, "{sent} were sent: {counters}");
    Ok(())
}

#[test]
fn where_it_cannot_run_it_says_why_and_leaves_everything_as_it_was() -> Result<()> {
    let bed = Bed::shared(1)?;
    let host = &bed.fleet.webs[0].host;

    let said = refusal(host, command("eth7", "")?)?;
    ensure!(said.contains("no interface eth7") && said.contains("lo, eth0"), "{said}");
    let said = refusal(host, command("lo", "")?)?;
    ensure!(said.contains("lo is no Ethernet interface"), "{said}");
    let said = refusal(host, command("eth0", "--vip 0.0.0.0/0")?)?;
    ensure!(said.contains("every address"), "{said}");
    let mut powerless = Command::new("setpriv");
    powerless.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(bins::lbd()?);
    powerless.args(command("eth0", "")?.get_args());
    let said = refusal(host, powerless)?;
    ensure!(said.contains("lacks CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN") && said.contains("root"), "{said}");

    host.ip(&format!("link add {EXTRA} link eth0 type macvlan mode bridge"))?;
    host.ip(&format!("link set dev {EXTRA} up"))?;
    let said = refusal(host, command(EXTRA, "--mode native")?)?;
    ensure!(said.contains("refuses native XDP") && said.contains("--mode auto"), "{said}");
    let generic = start(host, EXTRA, "")?;
    ensure!(log(&generic)?.contains("XDP generic"), "{}", generic.log_tail());
    generic.terminate()?;

    let mut just_enough = Command::new("setpriv");
    just_enough.args(["--bounding-set=-all,+bpf,+perfmon,+net_admin"]).arg(bins::lbd()?);
    just_enough.args(command("eth0", "")?.get_args());
    let first = host.spawn(just_enough)?;
    first.wait_for_output(READY, SOON)?;
    let said = refusal(host, command("eth0", "")?)?;
    ensure!(said.contains("another lbd decap"), "{said}");
    ensure!(has_xdp(host, "eth0")?, "the first one lost its program");
    first.kill()?;
    wait_until("the program is gone with its process", SOON, || Ok((!has_xdp(host, "eth0")?).then_some(())))?;

    let pass = [(0xb7, 2), (0x95, 0)].map(|(code, constant)| xdp::Instruction {
        code,
        registers: 0,
        offset: 0,
        constant,
    });
    let index = host.enter(|| -> Result<u32> {
        let socket = std::net::UdpSocket::bind("[::]:0")?;
        Ok(rustix::net::netdevice::name_to_index(&socket, "eth0")?)
    })??;
    let _theirs = host.enter(|| xdp::attach(&pass, "theirs", index))??;
    let said = refusal(host, command("eth0", "")?)?;
    ensure!(said.contains("XDP program theirs") && said.contains("another owner"), "{said}");

    let _lbd = bed.start()?;
    let said = refusal(&bed.fleet.node, command("back", "")?)?;
    ensure!(said.contains("load balancer node"), "{said}");
    Ok(())
}

#[test]
fn what_the_operator_still_has_to_do_is_told_with_its_command() -> Result<()> {
    let bed = Bed::shared(1)?;
    // A host without VIPs, that answers ARP for all it has, and reaches clients by another interface.
    let host = &bed.fleet.edge;
    host.sysctl("net/ipv4/conf/back/rp_filter", "1")?;
    let decap = start(host, "back", "")?;
    let log = log(&decap)?;
    for wanted in [
        "the VIP 203.0.113.30 is on no interface",
        "ip address add 203.0.113.30/32 dev lo",
        "ip address add 2001:db8:2::30/128 dev lo",
        "sysctl -w net/ipv4/conf/back/arp_ignore=1",
        "sysctl -w net/ipv4/conf/back/arp_announce=2",
        "sysctl -w net/ipv4/conf/back/rp_filter=0",
    ] {
        ensure!(log.contains(wanted), "not told: {wanted}\n{log}");
    }
    decap.signal(Signal::INT)?;
    let status = decap.wait(SOON)?.context("it does not end")?;
    ensure!(status.success(), "{status}");
    ensure!(std::fs::read_to_string(decap.stdout_path())?.contains("FRAMES"), "no table at the end");
    Ok(())
}

#[test]
fn an_interface_that_comes_back_is_attached_to_again() -> Result<()> {
    let bed = Bed::shared(1)?;
    let host = &bed.fleet.webs[0].host;
    let add = |mtu: u32| -> Result<()> {
        host.ip(&format!("link add {EXTRA} mtu {mtu} type veth peer name {EXTRA}p mtu {mtu}"))?;
        host.ip(&format!("link set dev {EXTRA} up")).map(drop)
    };
    add(1_500)?;
    let decap = start(host, EXTRA, "")?;
    host.ip(&format!("link delete {EXTRA}"))?;
    decap.wait_for_output(&format!("there is no interface {EXTRA}"), SOON)?;
    add(9_000)?;
    decap.wait_for_output("all is well again", SOON)?;
    let log = log(&decap)?;
    ensure!(log.contains("XDP native-frags"), "a large MTU takes the program for frames in pieces: {log}");
    ensure!(has_xdp(host, EXTRA)?, "{log}");
    Ok(())
}
