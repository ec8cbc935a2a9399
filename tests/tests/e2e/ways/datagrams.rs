//! Datagrams that do not fit into a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{End, Host};
use lb_tests::site::{HTTP_PORT, Mode, NODE_BACK, NODE_FRONT};

use super::configuration::{Served, full_nat, serve};
use crate::bed::Bed;

/// Six fragments of 1,500 bytes.
const DATAGRAM_BYTES: usize = 8_000;

/// Datagrams of each family.
const DATAGRAMS: u8 = 50;

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Sends every datagram back with each byte's complement, until told to stop.
fn answer(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((len, client)) = socket.recv_from(&mut buffer) {
            buffer[..len].iter_mut().for_each(|byte| *byte = !*byte);
            socket.send_to(&buffer[..len], client)?;
        }
    }
    Ok(())
}

/// Bytes that differ from place to place and from datagram to datagram.
fn content(number: u8) -> Vec<u8> {
    (0..DATAGRAM_BYTES).map(|at| (at % 251).to_le_bytes()[0] ^ (at / 251).to_le_bytes()[0] ^ number).collect()
}

fn exchange(client: &Host, vip: IpAddr) -> Result<()> {
    let any = if vip.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = client.enter(|| UdpSocket::bind(SocketAddr::new(any, 0)))??;
    socket.connect(SocketAddr::new(vip, HTTP_PORT))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    for number in 0..DATAGRAMS {
        let sent = content(number);
        socket.send(&sent)?;
        let mut buffer = vec![0; 65_536];
        let len = socket.recv(&mut buffer).with_context(|| format!("answer {number} of {vip}"))?;
        let expected: Vec<u8> = sent.iter().map(|byte| !*byte).collect();
        ensure!(buffer[..len] == expected[..], "{vip}: answer {number} of {len} bytes is another one");
    }
    Ok(())
}

/// What the server listens on.
const SERVER: [&str; 2] = ["10.0.0.50", "2001:db8:3::50"];

#[test]
fn datagrams_of_8000_bytes_and_their_answers_arrive_intact_through_nat() -> Result<()> {
    let backends = addresses()?;
    let services: Vec<_> = Mode::Nat
        .vips()
        .into_iter()
        .zip(&backends)
        .map(|(vip, backend)| Served { protocol: "udp", ..Served::web("nat", vip, backend) })
        .collect();
    exchange_through(&services, true)
}

#[test]
fn datagrams_of_8000_bytes_and_their_answers_arrive_intact_through_full_nat() -> Result<()> {
    exchange_through(&full_nat(&addresses()?, "udp"), false)
}

fn addresses() -> Result<[[IpAddr; 1]; 2]> {
    let [v4, v6] = SERVER;
    Ok([[v4.parse()?], [v6.parse()?]])
}

/// Datagrams to both VIPs of `nat`, which the server answers by the node if `by_gateway`, and knows no other way.
fn exchange_through(services: &[Served<'_>], by_gateway: bool) -> Result<()> {
    let bed = Bed::shared(1)?;
    let fleet = &bed.fleet;
    let server = fleet.lab.host("datagrams")?;
    fleet.back.join(End::new(&server, "eth0").address("10.0.0.50/24").address("2001:db8:3::50/64"))?;
    if by_gateway {
        server.default_gateway("10.0.0.2".parse()?)?;
        server.default_gateway("2001:db8:3::2".parse()?)?;
    }
    let _lbd = serve(&bed, &[NODE_FRONT, NODE_BACK], "assign", services)?;
    let stop = Arc::<AtomicBool>::default();
    thread::scope(|scope| {
        let mut servers = Vec::new();
        for [backend] in addresses()? {
            let socket = server.enter(|| UdpSocket::bind(SocketAddr::new(backend, HTTP_PORT)))??;
            let stop = Arc::clone(&stop);
            servers.push(scope.spawn(move || answer(&socket, &stop)));
        }
        let result = Mode::Nat.vips().into_iter().try_for_each(|vip| exchange(&fleet.client, vip));
        stop.store(true, Ordering::Relaxed);
        for server in servers {
            server.join().map_err(|_| anyhow::anyhow!("a server panicked"))??;
        }
        result
    })
}
