//! `full-nat` with more flows than its only address has ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{End, wait_until};
use lb_tests::site::{HTTP_PORT, Mode, NODE_BACK, NODE_FRONT};
use lb_userspace::api::types::{Event, EventLevel, VerdictKind};

use super::configuration::{Served, serve};
use crate::bed::{Bed, SOON};

/// The drop that is looked for.
const REASON: &str = "ports-exhausted";

/// Ports of an address that sessions to one backend can have (docs/sessions.md).
const PORTS: u64 = 64_512;

/// Sessions that there are at least when none is found any more, in 64 tries.
const MOST_PORTS: u64 = 60_000;

/// The client's addresses that datagrams come from, and their ports: more pairs than `PORTS`.
const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 21), Ipv4Addr::new(198, 51, 100, 22)];
const SOURCE_PORTS: std::ops::Range<u16> = 20_000..54_000;

/// Times that every pair is used, at most: a queue may be full for a moment, and lose a few.
const ROUNDS: usize = 4;

/// What the backend listens on; it does not answer what it did not read.
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

fn exhausted(bed: &Bed) -> Result<u64> {
    let verdicts = bed.status()?.verdicts;
    let ours = verdicts.iter().find(|verdict| verdict.name == REASON && verdict.kind == VerdictKind::Drop);
    Ok(ours.map_or(0, |verdict| verdict.packets))
}

/// A datagram from every pair to the VIP.
fn send_from_everywhere(vip: SocketAddr) -> io::Result<()> {
    for source in SOURCES {
        for port in SOURCE_PORTS {
            UdpSocket::bind((source, port))?.send_to(b"one more", vip)?;
        }
    }
    Ok(())
}

/// Sends a datagram to the VIP, and waits until the backend has read it; returns whom it was from.
fn deliver(client: &UdpSocket, backend: &UdpSocket, datagram: &[u8]) -> Result<SocketAddr> {
    // What nobody has read yet leaves no room for it.
    while next(backend)?.is_some() {}
    client.send(datagram)?;
    wait_until("the datagram arrives", SOON, || {
        Ok(next(backend)?.filter(|(content, _)| content == datagram).map(|(_, source)| source))
    })
}

/// The next datagram that the backend has not read yet.
fn next(backend: &UdpSocket) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
    let mut buffer = [0; 64];
    match backend.recv_from(&mut buffer) {
        Ok((len, source)) => Ok(Some((buffer.get(..len).unwrap_or_default().to_vec(), source))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[test]
fn flows_that_find_no_port_are_counted_and_told_of_and_sessions_that_have_one_go_on() -> Result<()> {
    let bed = Bed::alone(1)?;
    let fleet = &bed.fleet;
    let server = fleet.lab.host("silent")?;
    fleet.back.join(End::new(&server, "eth0").address(&format!("{BACKEND}/24")))?;
    let backend = server.enter(|| UdpSocket::bind((BACKEND, HTTP_PORT)))??;
    backend.set_nonblocking(true)?;
    for source in SOURCES {
        fleet.client.address("eth0", &format!("{source}/24"))?;
    }
    let vip = Mode::Nat.vip_v4();
    let keys = "snat = [\"10.0.0.60\"]\n";
    let backends = [IpAddr::from(BACKEND)];
    let service = Served { protocol: "udp", keys, ..Served::web("full-nat", vip.into(), &backends) };
    let _lbd = serve(&bed, &[NODE_FRONT, NODE_BACK], "assign", &[service])?;

    let vip = SocketAddr::new(vip.into(), HTTP_PORT);
    let client = fleet.client.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    client.connect(vip)?;
    client.set_read_timeout(Some(SOON))?;
    let port = deliver(&client, &backend, b"first")?;
    // The agent has looked at its counters once: what happens from now on is news to it.
    wait_until("the session is counted", SOON, || Ok((bed.status()?.sessions.entries == 1).then_some(())))?;
    ensure!(exhausted(&bed)? == 0, "ports were exhausted before");

    for _ in 0..ROUNDS {
        fleet.client.enter(|| send_from_everywhere(vip))??;
        if exhausted(&bed)? > 0 {
            break;
        }
    }
    let dropped = exhausted(&bed)?;
    ensure!(dropped > 0, "no flow was without a port: {:?}", bed.status()?.verdicts);
    let shown = |line: &str| line.split_whitespace().take(2).eq(["drop", REASON]);
    ensure!(bed.edit("status")?.lines().any(shown), "`lbctl status` does not show it");

    let event = wait_until("an event tells of it", SOON, || {
        let events: Vec<Event> = bed.show("events")?;
        Ok(events.into_iter().find(|event| event.message.contains("ports exhausted")))
    })?;
    ensure!(event.level != EventLevel::Info && event.message.contains("more addresses"), "{event:?}");
    wait_until("the sessions are counted", SOON, || {
        let entries = bed.status()?.sessions.entries;
        ensure!(entries <= PORTS, "{entries} sessions");
        Ok((entries >= MOST_PORTS).then_some(()))
    })?;

    let still = deliver(&client, &backend, b"still there?")?;
    ensure!(still == port, "the session had {port} and has {still}");
    backend.send_to(b"yes", still)?;
    let mut answer = [0; 16];
    let len = client.recv(&mut answer).context("the answer to a session that there is")?;
    ensure!(answer.get(..len) == Some(b"yes"), "another answer");
    Ok(())
}
