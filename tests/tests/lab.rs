//! The lab does what its documentation says. Needs root.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io::BufRead, io::BufReader};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{Direction, End, Host, Lab};
use lb_tests::programs::hold;
use lb_tests::{bins, http, site};

/// Time for what should happen at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// Time in which a ping that must not be answered would have been.
const SILENCE: Duration = Duration::from_millis(500);

/// Two hosts on a bridge: `a` has 10.0.0.1, `b` has 10.0.0.2, and IPv6 addresses with the same last part.
struct Pair {
    a: Host,
    b: Host,
    b_link: lb_tests::lab::Link,
    lab: Lab,
}

const A_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const B_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const B_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

fn pair(name: &str) -> Result<Pair> {
    let lab = Lab::new(name)?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let bridge = lab.bridge("bridge")?;
    bridge.join(End::new(&a, "eth0").address("10.0.0.1/24").address("fd00::1/64"))?;
    let b_link = bridge.join(End::new(&b, "eth0").address("10.0.0.2/24").address("fd00::2/64"))?;
    Ok(Pair { a, b, b_link, lab })
}

fn get(host: &Host, server: IpAddr, path: &str) -> Result<http::Response> {
    host.enter(|| http::get(SocketAddr::new(server, site::HTTP_PORT), path, None, SOON))?
}

fn namespaces_of(lab: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("{lab}-"))).collect()
}

fn process_runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn mounts_in(dir: &Path) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().filter(|line| line.contains(&*dir.to_string_lossy())).count()
}

#[test]
fn two_hosts_on_a_bridge_reach_each_other_over_both_families() -> Result<()> {
    let Pair { a, b, lab: _lab, .. } = pair("pair")?;
    let _server = site::start_server(&b, "web1")?;
    for server in [B_V4, B_V6] {
        a.ping(server, SOON)?;
        let response = get(&a, server, "/any/path")?;
        assert_eq!((response.status, response.backend.as_deref()), (200, Some("web1")));
        assert_eq!(response.body, b"web1\n");
        assert_eq!(get(&a, server, "/bytes/3000000")?.body.len(), 3_000_000);
    }
    let source = SocketAddr::new(A_V4, 40_001);
    let response = a.enter(|| http::get(SocketAddr::new(B_V4, 80), "/", Some(source), SOON))??;
    assert_eq!(response.local, source);
    Ok(())
}

#[test]
fn a_server_answers_datagrams_from_the_address_that_was_asked() -> Result<()> {
    let Pair { a, b, lab: _lab, .. } = pair("udp")?;
    b.address("lo", "192.0.2.7/32")?;
    b.address("lo", "2001:db8::7/128")?;
    a.route("192.0.2.7/32", B_V4)?;
    a.route("2001:db8::7/128", B_V6)?;
    let _server = site::start_server(&b, "web1")?;
    for (any, asked) in [("0.0.0.0:0", "192.0.2.7:80"), ("[::]:0", "[2001:db8::7]:80")] {
        let (answer, from) = a.enter(|| -> Result<_> {
            let socket = std::net::UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(SOON))?;
            socket.send_to(b"who?", asked)?;
            let mut answer = [0; 16];
            let (len, from) = socket.recv_from(&mut answer)?;
            Ok((answer[..len].to_vec(), from))
        })??;
        assert_eq!((answer.as_slice(), from), (&b"web1"[..], asked.parse()?));
    }
    Ok(())
}

#[test]
fn a_router_forwards_between_two_links() -> Result<()> {
    let lab = Lab::new("routed")?;
    let (client, router, server) = (lab.host("client")?, lab.router("router")?, lab.host("server")?);
    lab.link(
        End::new(&client, "eth0").address("10.1.0.2/24").address("fd01::2/64"),
        End::new(&router, "eth0").address("10.1.0.1/24").address("fd01::1/64"),
    )?;
    lab.link(
        End::new(&server, "eth0").address("10.2.0.2/24").address("fd02::2/64"),
        End::new(&router, "eth1").address("10.2.0.1/24").address("fd02::1/64"),
    )?;
    client.default_gateway("10.1.0.1".parse()?)?;
    client.default_gateway("fd01::1".parse()?)?;
    server.route("10.1.0.0/24", "10.2.0.1".parse()?)?;
    server.route("fd01::/64", "fd02::1".parse()?)?;
    let _server = site::start_server(&server, "far")?;
    for address in ["10.2.0.2", "fd02::2"] {
        assert_eq!(get(&client, address.parse()?, "/")?.backend.as_deref(), Some("far"));
    }
    Ok(())
}

#[test]
fn a_cut_link_carries_nothing_until_it_is_restored() -> Result<()> {
    let Pair { a, b, b_link, lab: _lab } = pair("cut")?;
    for address in [B_V4, B_V6] {
        a.ping(address, SOON)?;
        b_link.cut()?;
        assert!(a.ping(address, SILENCE).is_err(), "{address} answers through a cut link");
        let carrier = b.run(command("cat", &["/sys/class/net/eth0/carrier"]), SOON)?.success()?.stdout;
        assert_eq!(carrier.trim(), "0");
        b_link.restore()?;
        a.ping(address, SOON)?;
    }
    Ok(())
}

#[test]
fn the_second_end_of_a_restored_link_has_its_addresses_and_routes_again() -> Result<()> {
    let lab = Lab::new("restore")?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let link = lab.link(
        End::new(&a, "eth0").address("10.0.0.1/24").address("fd00::1/64"),
        End::new(&b, "eth0").address("10.0.0.2/24").address("fd00::2/64"),
    )?;
    b.default_gateway(A_V4)?;
    b.default_gateway("fd00::1".parse()?)?;
    b.ip("-6 route add fd55::/64 via fd00::1 table 100")?;
    let state = || -> Result<String> {
        Ok(b.ip("-4 route show table all")?
            + &b.ip("-6 route show table all")?
            + &b.ip("-br address show eth0")?)
    };
    let before = state()?;
    link.cut()?;
    assert_ne!(state()?, before);
    link.restore()?;
    for address in [A_V4, "fd00::1".parse()?] {
        b.ping(address, SOON)?;
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&state()?), sorted(&before));
    Ok(())
}

#[test]
fn a_capture_sees_frames_as_they_are_on_the_wire() -> Result<()> {
    let Pair { a, b, lab: _lab, .. } = pair("capture")?;
    let _server = site::start_server(&b, "web1")?;
    let is_tcp = |frame: &[u8]| frame.get(23) == Some(&6);
    let (at_a, at_b) = (a.capture("eth0", is_tcp)?, b.capture("eth0", is_tcp)?);
    assert_eq!(get(&a, B_V4, "/bytes/1000000")?.body.len(), 1_000_000);
    let is_fin = |frame: &lb_tests::lab::Frame| {
        let parsed = etherparse::SlicedPacket::from_ethernet(&frame.bytes).ok();
        let transport = parsed.and_then(|packet| packet.transport);
        matches!(transport, Some(etherparse::TransportSlice::Tcp(tcp)) if tcp.fin())
    };
    for (capture, received_from) in [(&at_a, B_V4), (&at_b, A_V4)] {
        let frames =
            capture.wait_until(SOON, |frames| frames.iter().filter(|frame| is_fin(frame)).count() >= 2)?;
        assert!(frames.len() > 600, "1 MB in {} frames", frames.len());
        for frame in &frames {
            assert!(frame.bytes.len() <= 1_514, "{} bytes in a frame", frame.bytes.len());
            check_tcp_checksum(&frame.bytes)?;
            let source: [u8; 4] = frame.bytes[26..30].try_into()?;
            assert_eq!(frame.direction == Direction::In, IpAddr::from(source) == received_from);
        }
        assert_eq!(capture.not_kept(), 0);
    }
    Ok(())
}

fn check_tcp_checksum(frame: &[u8]) -> Result<()> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame)?;
    let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Tcp(tcp))) =
        (packet.net, packet.transport)
    else {
        anyhow::bail!("not TCP over IPv4");
    };
    let header = ip.header();
    let expected = tcp.calc_checksum_ipv4(header.source(), header.destination())?;
    // A zero sum has two forms in one's complement (RFC 1071), and Linux writes 0xffff where it sums in software.
    let zero_as_one_form = |sum: u16| if sum == 0xffff { 0 } else { sum };
    let same = zero_as_one_form(tcp.checksum()) == zero_as_one_form(expected);
    ensure!(same, "checksum {:#06x}, not {expected:#06x}", tcp.checksum());
    Ok(())
}

#[test]
fn an_injected_frame_arrives_as_it_is() -> Result<()> {
    let Pair { a, b, lab: _lab, .. } = pair("inject")?;
    let capture = b.capture("eth0", |frame| frame.get(12..14) == Some(&[0x88, 0xb5]))?;
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    frame.extend([0xa5; 86]);
    a.inject("eth0", &frame)?;
    let seen = capture.wait_until(SOON, |frames| !frames.is_empty())?;
    assert_eq!(seen[0].bytes, frame);
    assert!(a.inject("eth9", &frame).unwrap_err().to_string().contains("eth9"));
    Ok(())
}

#[test]
fn labs_with_the_same_names_stand_side_by_side() -> Result<()> {
    let (first, second) = (pair("same")?, pair("same")?);
    let servers = (site::start_server(&first.b, "one")?, site::start_server(&second.b, "two")?);
    assert_eq!(get(&first.a, B_V4, "/")?.backend.as_deref(), Some("one"));
    assert_eq!(get(&second.a, B_V4, "/")?.backend.as_deref(), Some("two"));
    drop(servers);
    drop(first);
    second.a.ping(B_V4, SOON)?;
    Ok(())
}

#[test]
fn a_program_sees_the_interfaces_and_the_bpffs_of_its_host() -> Result<()> {
    let Pair { a, lab, .. } = pair("view")?;
    let interfaces = a.run(command("ls", &["/sys/class/net"]), SOON)?.success()?.stdout;
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
    let bpffs = a.bpffs()?;
    assert_eq!(a.bpffs()?, bpffs);
    a.run(command("mkdir", &["/sys/fs/bpf/made-inside"]), SOON)?.success()?;
    assert!(bpffs.join("made-inside").is_dir());
    drop(a);
    let dir = lab.dir().to_owned();
    drop(lab);
    assert_eq!((dir.exists(), mounts_in(&dir)), (false, 0));
    Ok(())
}

#[test]
fn a_program_that_fails_or_hangs_is_reported_with_its_output() -> Result<()> {
    let lab = Lab::new("programs")?;
    let host = lab.host("host")?;
    let failed = host.run(command("sh", &["-c", "echo said; echo wrong >&2; exit 3"]), SOON)?;
    assert_eq!(
        (failed.status.code(), failed.stdout.as_str(), failed.stderr.as_str()),
        (Some(3), "said\n", "wrong\n")
    );
    let message = failed.success().unwrap_err().to_string();
    assert!(message.contains("wrong"), "{message}");

    let message =
        host.run(command("sh", &["-c", "echo started; exec sleep 60"]), SILENCE).unwrap_err().to_string();
    assert!(message.contains("started") && message.contains("not ended"), "{message}");

    let missing = host.run(command("no-such-program", &[]), SOON).unwrap_err().to_string();
    assert!(missing.contains("no such program"), "{missing}");

    let silent = host.spawn(command("true", &[]))?;
    let message = format!("{:#}", silent.wait_for_output("ready", SOON).unwrap_err());
    assert!(message.contains("ended"), "{message}");
    Ok(())
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_in_the_end() -> Result<()> {
    let lab = Lab::new("stubborn")?;
    let process = lab
        .host("host")?
        .spawn(command("sh", &["-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]))?;
    process.wait_for_output("deaf", SOON)?;
    let pid = process.pid();
    drop(process);
    assert!(!process_runs(pid));
    Ok(())
}

#[test]
fn names_are_checked_and_taken_once() -> Result<()> {
    assert!(Lab::new("with space").is_err());
    let lab = Lab::new("names")?;
    let host = lab.host("host")?;
    assert!(lab.host("host").is_err_and(|error| error.to_string().contains("already")));
    for name in ["", "a/b", "..", "a-b"] {
        assert!(lab.host(name).is_err(), "{name:?} was taken");
    }
    let too_long = lab.link(End::new(&host, "sixteen-letters-"), End::new(&host, "eth1"));
    assert!(too_long.is_err_and(|error| error.to_string().contains("sixteen-letters-")));
    Ok(())
}

#[test]
fn a_panic_removes_namespaces_programs_and_mounts() {
    let mut made = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let Pair { a, b, b_link: _link, lab } = pair("panic").unwrap();
        a.bpffs().unwrap();
        let process = b.spawn(command("sh", &["-c", "sleep 300 & echo $!; wait"])).unwrap();
        process.wait_for_output("\n", SOON).unwrap();
        let grandchild: u32 = fs::read_to_string(process.stdout_path()).unwrap().trim().parse().unwrap();
        made = Some((lab.id(), lab.dir().to_owned(), process.pid(), grandchild));
        assert_eq!(namespaces_of(&lab.id()).len(), 3);
        assert!(process_runs(grandchild));
        panic!("as a failing test does");
    }));
    assert!(panicked.is_err());
    let (id, dir, child, grandchild) = made.expect("the panic came after everything was made");
    assert_eq!(namespaces_of(&id), Vec::<String>::new());
    assert!(!process_runs(child) && !process_runs(grandchild));
    assert_eq!((dir.exists(), mounts_in(&dir)), (false, 0));
}

/// Another process with a lab: what it is, the lab's id, and the program that runs in it.
fn holder() -> Result<(Child, String, u32)> {
    let mut holder = Command::new(bins::lb_lab()?).arg("hold").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("a piped stdout")?).read_line(&mut line)?;
    let rest = line.strip_prefix(hold::READY).with_context(|| format!("it printed {line:?}"))?;
    let (id, pid) = rest.trim().split_once(' ').with_context(|| format!("it printed {line:?}"))?;
    Ok((holder, id.to_owned(), pid.parse()?))
}

#[test]
fn a_sweep_removes_what_a_killed_owner_left_and_nothing_else() -> Result<()> {
    let (mut holder, id, pid) = holder()?;
    let dir = Path::new("/run/lb-lab").join(&id);
    Lab::sweep()?;
    assert_eq!(namespaces_of(&id).len(), 1, "the owner lives");
    assert!(process_runs(pid));
    assert_eq!(mounts_in(&dir), 1);

    holder.kill()?;
    holder.wait()?;
    assert!(process_runs(pid), "a killed owner cleans nothing up");
    Lab::sweep()?;
    assert_eq!(namespaces_of(&id), Vec::<String>::new());
    assert!(!process_runs(pid));
    assert_eq!((dir.exists(), mounts_in(&dir)), (false, 0));
    Ok(())
}

#[test]
fn an_interrupted_owner_cleans_up_before_it_ends() -> Result<()> {
    let (mut holder, id, pid) = holder()?;
    rustix::process::kill_process(rustix::process::Pid::from_child(&holder), rustix::process::Signal::INT)?;
    assert!(holder.wait()?.success());
    assert_eq!(namespaces_of(&id), Vec::<String>::new());
    assert!(!process_runs(pid));
    assert!(!Path::new("/run/lb-lab").join(&id).exists());
    Ok(())
}

#[test]
fn a_panic_in_a_host_goes_on_in_the_caller() -> Result<()> {
    let lab = Lab::new("enter")?;
    let host = lab.host("host")?;
    let panicked = catch_unwind(AssertUnwindSafe(|| host.enter(|| panic!("inside"))));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
