//! Packets of clients, and which backend one went to.

use lb_common::pipeline::{Verdict, process};
use lb_common::tables::MemTables;
use lb_common::wire::{BufferPacket, tcp, udp};
use std::net::IpAddr;

/// Interface that clients' packets come in by.
const INGRESS: u32 = 3;
/// Interface that leads to the backends.
pub const EGRESS: u32 = 2;
/// The node's own address on it.
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where the transport header's control bits are.
const CONTROL: usize = 13;

/// A backend: pool and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendId {
    pub pool: u8,
    pub number: u8,
}

impl BackendId {
    /// Its address on the link, by which packets tell in every mode where they went.
    pub const fn mac(self) -> [u8; 6] {
        [2, 0, 0, 1, self.pool, self.number]
    }

    /// Its address.
    pub fn address(self, v6: bool) -> IpAddr {
        let Self { pool, number } = self;
        if v6 {
            IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, u16::from(pool), u16::from(number) + 1])
        } else {
            IpAddr::from([10, 1, pool, number + 1])
        }
    }
}

/// A client's side and a frontend.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub client: IpAddr,
    pub client_port: u16,
    pub vip: IpAddr,
    pub port: u16,
    pub udp: bool,
}

/// A packet that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Syn,
    Data,
    Fin,
    Rst,
}

impl Sign {
    const fn control(self) -> u8 {
        match self {
            Self::Syn => tcp::SYN,
            Self::Data => tcp::ACK,
            Self::Fin => tcp::FIN | tcp::ACK,
            Self::Rst => tcp::RST,
        }
    }
}

/// A frame of a path.
pub fn frame(path: &Path, sign: Sign) -> Vec<u8> {
    let transport = transport(path, sign);
    let length = u16::try_from(transport.len()).expect("a header fits");
    let protocol = if path.udp { udp::PROTOCOL } else { tcp::PROTOCOL };
    let mut frame = Vec::with_capacity(80);
    frame.extend(NODE_MAC);
    frame.extend(ROUTER_MAC);
    match (path.client, path.vip) {
        (IpAddr::V4(client), IpAddr::V4(vip)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(client.octets());
            frame.extend(vip.octets());
        }
        (IpAddr::V6(client), IpAddr::V6(vip)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(client.octets());
            frame.extend(vip.octets());
        }
        _ => panic!("two families"),
    }
    frame.extend(transport);
    frame
}

fn transport(path: &Path, sign: Sign) -> Vec<u8> {
    let mut header = vec![0; if path.udp { 8 } else { 20 }];
    header[..2].copy_from_slice(&path.client_port.to_be_bytes());
    header[2..4].copy_from_slice(&path.port.to_be_bytes());
    if path.udp {
        header[5] = 8;
    } else {
        header[12] = 5 << 4;
        header[CONTROL] = sign.control();
    }
    header
}

/// Runs a frame through the pipeline. The backend that it went to, or what became of it instead.
pub fn run(tables: &MemTables, frame: &[u8]) -> Result<BackendId, Verdict> {
    let mut packet = BufferPacket::new(frame, INGRESS);
    let verdict = process(&mut packet, tables);
    match (verdict, packet.frame()) {
        (Verdict::Redirect(_, EGRESS), [2, 0, 0, 1, pool, number, ..]) => {
            Ok(BackendId { pool: *pool, number: *number })
        }
        _ => Err(verdict),
    }
}
