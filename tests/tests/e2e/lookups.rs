//! Datagrams from chosen ports: which server a flow belongs to.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::site::{HTTP_PORT, Mode};

use super::bed::{Bed, SOON, all_vips};

/// Client ports that are looked up.
const PORTS: std::ops::Range<u16> = 42_000..42_016;

/// Longest answer: a server's name.
const MAX_ANSWER_LEN: usize = 64;

/// Adds a UDP service on every VIP, so that flows can be looked up: datagrams can use a port again at once.
pub fn add_udp_services(bed: &Bed) -> Result<()> {
    let mut text = bed.text()?;
    for mode in Mode::ALL {
        for (family, vip) in ["v4", "v6"].into_iter().zip(mode.vips()) {
            let name = format!("{}-{family}", mode.name());
            write!(
                text,
                "\n[services.{name}-udp]\nvips = [\"{vip}\"]\nports = [{HTTP_PORT}]\nprotocol = \"udp\"\npool = \"{name}\"\n"
            )?;
        }
    }
    bed.write(&text)
}

/// The server that answers each VIP for each of some fixed client ports.
pub fn servers_by_port(bed: &Bed) -> Result<BTreeMap<(IpAddr, u16), String>> {
    bed.fleet.client.enter(|| {
        let mut servers = BTreeMap::new();
        for vip in all_vips() {
            for port in PORTS {
                let server =
                    ask(vip, port, SOON).with_context(|| format!("UDP from port {port} to {vip}"))?;
                servers.insert((vip, port), server);
            }
        }
        Ok(servers)
    })?
}

fn ask(vip: IpAddr, port: u16, timeout: Duration) -> Result<String> {
    let any = if vip.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, port))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(SocketAddr::new(vip, HTTP_PORT))?;
    socket.send(b"who are you?")?;
    let mut answer = [0; MAX_ANSWER_LEN];
    let len = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
}
