//! A service of each mode and family over one backend, and random packets to it.

use etherparse::{IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, PacketBuilder, TcpHeader};
use lb_common::abi::{
    Backend, BackendFlags, ForwardMode, ReverseKey, ReverseValue, ServiceKey, ServiceValue, Slot, address,
};
use lb_common::hash::HashKey;
use lb_common::pipeline::{Verdict, process, tunnel};
use lb_common::tables::{MemTables, NextHop, Route, RouteAnswer};
use lb_common::wire::BufferPacket;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Interface that packets come in by.
pub const INGRESS: u32 = 3;
/// Interface that replies leave by.
pub const EGRESS: u32 = 4;

/// A service, its backend and a client.
#[derive(Clone, Debug)]
pub struct Setting {
    pub mode: ForwardMode,
    pub protocol: u8,
    pub client: SocketAddr,
    pub frontend: SocketAddr,
    pub target: SocketAddr,
    pub tunnel_source: IpAddr,
}

impl Setting {
    /// Tables with the service, the way back, and a route to the client.
    pub fn tables(&self) -> MemTables {
        let mut tables = MemTables::new(HashKey(1, 2));
        let key = ServiceKey {
            address: address(self.frontend.ip()),
            port: self.frontend.port().to_be(),
            protocol: self.protocol,
            zero: 0,
        };
        let value = ServiceValue {
            slot_offset: 0,
            slot_count: 1,
            index: 0,
            mode: self.mode as u8,
            affinity: 0,
            zero: [0; 2],
        };
        tables.services.insert(key, value);
        tables.slots.push(Slot::stable(0));
        tables.backends.push(self.backend());
        if self.mode == ForwardMode::Nat {
            let key = ReverseKey {
                address: address(self.target.ip()),
                port: self.target.port().to_be(),
                protocol: self.protocol,
                zero: 0,
            };
            let value = ReverseValue {
                vip: address(self.frontend.ip()),
                port: self.frontend.port().to_be(),
                zero: 0,
                service_index: 0,
                backend_index: 0,
            };
            tables.reverse.insert(key, value);
        }
        let hop = NextHop { ethernet: [7; 3], ifindex: EGRESS };
        tables
            .routes
            .insert(address(self.client.ip()), Route { answer: RouteAnswer::Found, hop, mtu_bytes: 0 });
        tables
    }

    fn backend(&self) -> Backend {
        let (source, destination) = (address(self.tunnel_source), address(self.target.ip()));
        let ([_, _, _, outer_source], [_, _, _, outer_destination]) = (source, destination);
        Backend {
            ethernet: [9; 3],
            ifindex: INGRESS,
            address: destination,
            tunnel_source: source,
            port: self.target.port().to_be(),
            flags: BackendFlags::VALID
                | BackendFlags::RESOLVED
                | if self.target.is_ipv6() { BackendFlags::V6 } else { 0 },
            mtu_bytes: u16::MAX,
            outer_sum: match self.target {
                SocketAddr::V4(_) => tunnel::ipip_sum(outer_source, outer_destination),
                SocketAddr::V6(_) => 0,
            },
            tunnel_vary: 0,
            snat_first: 0,
            snat_count: 0,
        }
    }
}

/// Runs a frame over tables.
pub fn run(tables: &MemTables, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut packet = BufferPacket::new(frame, INGRESS);
    let verdict = process(&mut packet, tables);
    (verdict, packet.frame().to_vec())
}

/// What may vary in a packet without changing its flow.
#[derive(Clone, Debug)]
pub struct Extras {
    pub ttl: u8,
    pub class: u8,
    pub identification: u16,
    pub flow_label: u32,
    pub option_words: usize,
    pub tcp_flags: u8,
    pub sequence: u32,
    pub payload: Vec<u8>,
    pub padding: usize,
    pub udp_checksum: bool,
}

/// A frame from `source` to `destination`, sound in every part.
pub fn frame(protocol: u8, source: SocketAddr, destination: SocketAddr, extras: &Extras) -> Vec<u8> {
    let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let number = IpNumber(protocol);
    let step = match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            let (from, to) = (source.ip().octets(), destination.ip().octets());
            let mut header = Ipv4Header::new(0, extras.ttl, number, from, to).expect("fits the length field");
            header.dscp = (extras.class >> 2).try_into().expect("six bits");
            header.ecn = (extras.class & 3).try_into().expect("two bits");
            header.identification = extras.identification;
            header.options = Ipv4Options::try_from(vec![1; extras.option_words * 4].as_slice())
                .expect("at most ten words");
            step.ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            let header = Ipv6Header {
                traffic_class: extras.class,
                flow_label: Ipv6FlowLabel::try_new(extras.flow_label).expect("twenty bits"),
                payload_length: 0,
                next_header: number,
                hop_limit: extras.ttl,
                source: source.ip().octets(),
                destination: destination.ip().octets(),
            };
            step.ip(etherparse::IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default()))
        }
        _ => panic!("two families"),
    };
    let mut frame = Vec::new();
    if protocol == 6 {
        let mut header = TcpHeader::new(source.port(), destination.port(), extras.sequence, 100);
        let flag = |bit: u8| extras.tcp_flags & (1 << bit) != 0;
        (header.fin, header.syn, header.rst) = (flag(0), flag(1), flag(2));
        (header.psh, header.ack, header.urg) = (flag(3), flag(4), flag(5));
        step.tcp_header(header).write(&mut frame, &extras.payload).expect("a vector takes every packet");
    } else {
        step.udp(source.port(), destination.port())
            .write(&mut frame, &extras.payload)
            .expect("a vector takes every packet");
        if !extras.udp_checksum {
            let at = frame.len() - extras.payload.len() - 2;
            frame[at..at + 2].fill(0);
        }
    }
    frame.extend(vec![0xee; extras.padding]);
    frame
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<u32>().prop_map(|word| IpAddr::V4(Ipv4Addr::from(word)))
}

fn v6() -> impl Strategy<Value = IpAddr> {
    // Documentation addresses: v4-mapped ones would be another family's.
    any::<u64>().prop_map(|low| {
        IpAddr::V6(Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0000_u128 | u128::from(low)))
    })
}

/// Settings in which the frontend, the backend and the client are three different hosts.
pub fn settings(modes: &'static [ForwardMode]) -> impl Strategy<Value = Setting> {
    let hosts = prop_oneof![
        (v4(), v4(), v4(), v4()).prop_map(|(a, b, c, d)| [a, b, c, d]),
        (v6(), v6(), v6(), v6()).prop_map(|(a, b, c, d)| [a, b, c, d]),
    ];
    let ports = (any::<u16>(), 1..=u16::MAX, 1..=u16::MAX);
    (proptest::sample::select(modes), prop_oneof![Just(6_u8), Just(17)], hosts, ports)
        .prop_filter("three hosts", |(_, _, [client, vip, backend, _], _)| {
            client != vip && vip != backend && client != backend
        })
        .prop_map(|(mode, protocol, [client, vip, backend, node], (client_port, port, backend_port))| {
            Setting {
                mode,
                protocol,
                client: SocketAddr::new(client, client_port),
                frontend: SocketAddr::new(vip, port),
                target: SocketAddr::new(backend, backend_port),
                tunnel_source: node,
            }
        })
}

/// Packets that a router may forward: TTL above 1.
pub fn extras() -> impl Strategy<Value = Extras> {
    let header = (2..=u8::MAX, any::<u8>(), any::<u16>(), 0..=0xf_ffff_u32, 0..=10_usize);
    let rest = (0..64_u8, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..200), 0..20_usize);
    (header, rest, proptest::bool::weighted(0.8)).prop_map(
        |(
            (ttl, class, identification, flow_label, option_words),
            (tcp_flags, sequence, payload, padding),
            udp_checksum,
        )| Extras {
            ttl,
            class,
            identification,
            flow_label,
            option_words,
            tcp_flags,
            sequence,
            payload,
            padding,
            udp_checksum,
        },
    )
}
