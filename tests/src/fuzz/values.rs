//! Values that mean something in the fixtures' world: its addresses and ports, and those with rules of their own.
//!
//! Imports `fixtures` and lb-common.

use crate::fixtures::{RANGE, World};
use fastrand::Rng;
use lb_common::abi::{NetworkValue, ip_address};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 addresses that routers and hosts treat apart.
const SPECIAL_V4: [Ipv4Addr; 7] = [
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(169, 254, 1, 1),
    Ipv4Addr::new(192, 0, 2, 77),
    Ipv4Addr::new(240, 0, 0, 1),
];

/// IPv6 addresses that routers and hosts treat apart.
const SPECIAL_V6: [Ipv6Addr; 7] = [
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::LOCALHOST,
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a4d, 0x0010),
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77),
    Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 1),
];

/// Ports that nobody in the world has, or that parsers may take for something.
const SPECIAL_PORTS: [u16; 6] = [0, 53, 80, 4789, 6080, 65_535];

/// Addresses and ports to put into packets.
#[derive(Clone, Debug)]
pub struct Values {
    v4: Vec<[u8; 4]>,
    v6: Vec<[u8; 16]>,
    frontend_ports: Vec<u16>,
    ports: Vec<u16>,
    /// First address of each network of VIPs, as a number, and its bits that are free.
    networks: Vec<(u128, u32)>,
}

impl Values {
    /// Those of a world.
    pub fn of(world: &World) -> Self {
        let is_alias = |it: &lb_common::abi::Address| {
            world.networks.iter().any(|(.., NetworkValue { alias })| alias == it)
        };
        let backends = world.backends.iter().flat_map(|backend| [backend.address, backend.tunnel_source]);
        // What networks are filed under is no address of anybody.
        let frontends = world.services.keys().map(|key| key.address).filter(|it| !is_alias(it));
        let addresses: BTreeSet<IpAddr> = backends
            .chain(frontends)
            .map(ip_address)
            .chain(world.routes.keys().copied())
            .chain(SPECIAL_V4.map(IpAddr::V4))
            .chain(SPECIAL_V6.map(IpAddr::V6))
            .collect();
        let frontend_ports = world.services.keys().map(|key| u16::from_be(key.port));
        let others = world
            .reverse
            .keys()
            .map(|key| u16::from_be(key.port))
            .chain(world.flows.iter().map(|(key, _)| u16::from_be(key.source_port)))
            .chain(SPECIAL_PORTS);
        let around_ranges = [RANGE.start() - 1, *RANGE.start(), *RANGE.end(), RANGE.end() + 1];
        let networks = world
            .networks
            .iter()
            .map(|(bits, network, _)| (u128::from_be_bytes(bytemuck::cast(*network)), 128 - bits));
        let v4 = |ip: &IpAddr| if let IpAddr::V4(ip) = ip { Some(ip.octets()) } else { None };
        let v6 = |ip: &IpAddr| if let IpAddr::V6(ip) = ip { Some(ip.octets()) } else { None };
        Self {
            v4: addresses.iter().filter_map(v4).collect(),
            v6: addresses.iter().filter_map(v6).collect(),
            networks: networks.collect(),
            frontend_ports: frontend_ports
                .chain(around_ranges)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            ports: others.collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    /// An address of a family.
    pub fn address(&self, rng: &mut Rng, v4: bool) -> Vec<u8> {
        if rng.u8(..8) == 0
            && let Some(address) = self.of_a_network(rng, v4)
        {
            return address;
        }
        let chosen = if v4 {
            rng.choice(&self.v4).map(|it| it.to_vec())
        } else {
            rng.choice(&self.v6).map(|it| it.to_vec())
        };
        chosen.unwrap_or_default()
    }

    /// Any address of a network of VIPs, if it is of that family.
    fn of_a_network(&self, rng: &mut Rng, v4: bool) -> Option<Vec<u8>> {
        let (first, free_bits) = *rng.choice(&self.networks)?;
        let host = rng.u128(..).checked_shr(128 - free_bits).unwrap_or_default();
        match ip_address(bytemuck::cast((first | host).to_be_bytes())) {
            IpAddr::V4(ip) => v4.then(|| ip.octets().to_vec()),
            IpAddr::V6(ip) => (!v4).then(|| ip.octets().to_vec()),
        }
    }

    /// A port that frontends have.
    pub fn frontend_port(&self, rng: &mut Rng) -> u16 {
        rng.choice(&self.frontend_ports).copied().unwrap_or_default()
    }

    /// A port: of a frontend, a backend, a client, or any.
    pub fn port(&self, rng: &mut Rng) -> u16 {
        match rng.u8(..4) {
            0 => self.frontend_port(rng),
            1 => rng.choice(&self.ports).copied().unwrap_or_default(),
            // Few enough that flows come again.
            2 => 51_000 + rng.u16(..64),
            _ => rng.u16(..),
        }
    }
}

/// A number at which lengths, counters or comparisons turn.
pub fn turning_point(rng: &mut Rng) -> u16 {
    const POINTS: [u16; 24] = [
        0, 1, 4, 5, 7, 8, 9, 19, 20, 21, 28, 39, 40, 41, 60, 0x7f, 0x80, 0xff, 0x100, 1280, 1500, 0x7fff,
        0x8000, 0xffff,
    ];
    let point = rng.choice(POINTS).unwrap_or_default();
    match rng.u8(..4) {
        0 => point.wrapping_sub(1),
        1 => point.wrapping_add(1),
        _ => point,
    }
}
