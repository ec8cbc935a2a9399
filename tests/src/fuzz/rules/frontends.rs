//! Which frontend an address, port and protocol are, and whose reply a packet is: read from the world's lists, entry by
//! entry.
//!
//! Imports `fixtures` and lb-common's types.

use super::Rules;
use crate::fuzz::anatomy::{TCP, UDP};
use lb_common::abi::{
    Address, AddressFlags, PortsKey, ReverseKey, ServiceKey, ServiceValue, address, ip_address,
};
use std::net::{IpAddr, SocketAddr};

/// Address, port and protocol.
pub type Place = (IpAddr, u16, u8);

impl Rules {
    /// The frontend of a place: its own port before ranges before any port, its own address before a network.
    pub(super) fn frontend(&self, (ip, port, protocol): Place) -> Option<ServiceValue> {
        if !matches!(protocol, TCP | UDP) {
            return None;
        }
        let own = self.of_port(address(ip), port, protocol);
        own.or_else(|| self.of_port(self.network(ip)?, port, protocol))
    }

    fn of_port(&self, at: Address, port: u16, protocol: u8) -> Option<ServiceValue> {
        let exact = |port: u16| {
            let key = ServiceKey { address: at, port: port.to_be(), protocol, zero: 0 };
            self.world.services.get(&key).copied()
        };
        exact(port).or_else(|| in_range(&self.world.ranges, at, port, protocol)).or_else(|| exact(0))
    }

    /// What the smallest network with an address is filed under.
    fn network(&self, ip: IpAddr) -> Option<Address> {
        let networks = self.world.networks.iter().filter(|(bits, network, _)| {
            let shift = 128 - bits;
            let of = |address: Address| {
                u128::from_be_bytes(bytemuck::cast(address)).checked_shr(shift).unwrap_or_default()
            };
            of(*network) == of(address(ip))
        });
        networks.max_by_key(|(bits, ..)| *bits).map(|(.., value)| value.alias)
    }

    /// What an address is.
    fn flags(&self, ip: IpAddr) -> u32 {
        let key = ServiceKey { address: address(ip), port: 0, protocol: 0, zero: 0 };
        self.world.services.get(&key).map_or(0, |value| value.index)
    }

    /// Whether clients connect to an address.
    pub(super) fn is_vip(&self, ip: IpAddr) -> bool {
        self.flags(ip) & AddressFlags::VIP != 0 || self.network(ip).is_some()
    }

    /// Whether `full-nat` sends from an address.
    pub(super) fn is_snat(&self, ip: IpAddr) -> bool {
        self.flags(ip) & AddressFlags::SNAT != 0
    }

    /// Every frontend of an address, whatever the port.
    pub(super) fn frontends_at(&self, ip: IpAddr) -> Vec<ServiceValue> {
        let mut all = Vec::new();
        for at in [Some(address(ip)), self.network(ip)].into_iter().flatten() {
            let exact = self.world.services.iter().filter(|(key, _)| key.address == at && key.protocol != 0);
            all.extend(exact.map(|(_, value)| *value));
            let ranges = self.world.ranges.iter().filter(|(_, key, _)| key.address == at);
            all.extend(ranges.map(|(.., value)| *value));
        }
        all
    }

    /// Whom a reply from a backend has to come from.
    pub(super) fn vip_of(&self, (ip, port, protocol): Place) -> Option<SocketAddr> {
        let key = ReverseKey { address: address(ip), port: port.to_be(), protocol, zero: 0 };
        let exact = self.world.reverse.get(&key).copied();
        let entry = exact.or_else(|| in_range(&self.world.reverse_ranges, address(ip), port, protocol))?;
        let vip_port = if entry.port == 0 { port } else { u16::from_be(entry.port) };
        Some(SocketAddr::new(ip_address(entry.vip), vip_port))
    }

    /// Every VIP that replies from an address may come from.
    pub(super) fn vips_of(&self, ip: IpAddr) -> Vec<IpAddr> {
        let exact = self.world.reverse.iter().map(|(key, value)| (key.address, value.vip));
        let ranges = self.world.reverse_ranges.iter().map(|(_, key, value)| (key.address, value.vip));
        exact.chain(ranges).filter(|(from, _)| *from == address(ip)).map(|(_, vip)| ip_address(vip)).collect()
    }
}

/// The value of the smallest range with a port.
fn in_range<V: Copy>(ranges: &[(u32, PortsKey, V)], at: Address, port: u16, protocol: u8) -> Option<V> {
    let fitting = ranges.iter().filter(|(bits, key, _)| {
        let shift = PortsKey::BITS.saturating_sub(*bits);
        let leading = |port: u16| u32::from(port) >> shift;
        key.address == at && key.protocol == protocol && leading(u16::from_be(key.port)) == leading(port)
    });
    fitting.max_by_key(|(bits, ..)| *bits).map(|(.., value)| *value)
}
