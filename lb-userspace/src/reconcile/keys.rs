//! What the datapath looks frontends up by.
//!
//! Always holds: a frontend of a single port or of any is one entry of the service table, one of a range has one for each of
//! its pieces; those of a network are stored under its alias.

use crate::dataplane::{NetworkPrefix, Observed, PortsPrefix};
use crate::model::{Frontend, Ports, Prefix, Protocol, prefixes};
use lb_common::abi::{ADDRESS_BITS, Address, PortsKey, ServiceKey, ServiceValue, address, alias};

/// Number of a transport protocol.
pub const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => lb_common::wire::tcp::PROTOCOL,
        Protocol::Udp => lb_common::wire::udp::PROTOCOL,
    }
}

/// The key of a network; none of a single address.
pub fn network_prefix(vip: Prefix) -> Option<NetworkPrefix> {
    if vip.single().is_some() {
        return None;
    }
    let bits = ADDRESS_BITS - u32::from(vip.host_bits());
    Some(NetworkPrefix { address: address(vip.address()), bits })
}

/// What the frontends of a VIP are stored under: its address, or the alias of a network.
pub fn lookup_address(vip: Prefix) -> Address {
    let Some(network) = network_prefix(vip) else { return address(vip.address()) };
    let mut hash = fnv::FnvHasher::default();
    std::hash::Hasher::write(&mut hash, bytemuck::bytes_of(&network.address));
    std::hash::Hasher::write(&mut hash, &network.bits.to_be_bytes());
    alias(std::hash::Hasher::finish(&hash), network.bits)
}

/// The key of a frontend of a single port, or of any; none of a range.
pub fn service_key(frontend: &Frontend) -> Option<ServiceKey> {
    let port = match frontend.ports {
        Ports::One(port) => port,
        Ports::Any => 0,
        Ports::Range(..) => return None,
    };
    Some(ServiceKey {
        address: lookup_address(frontend.vip),
        port: port.to_be(),
        protocol: protocol_number(frontend.protocol),
        zero: 0,
    })
}

/// Ports of an address and protocol, in as few prefixes as there can be.
pub(super) fn pieces(address: Address, protocol: u8, ports: Ports) -> impl Iterator<Item = PortsPrefix> {
    prefixes(ports).into_iter().map(move |piece| PortsPrefix {
        key: PortsKey { address, protocol, zero: 0, port: piece.first.to_be(), zeros: 0 },
        bits: PortsKey::BITS_BEFORE_PORT + piece.bits,
    })
}

/// The keys of a frontend of a range; none of others.
pub(super) fn range_keys(frontend: &Frontend) -> impl Iterator<Item = PortsPrefix> {
    let is_range = matches!(frontend.ports, Ports::Range(..));
    let (vip, protocol, ports) = (frontend.vip, protocol_number(frontend.protocol), frontend.ports);
    is_range.then(|| pieces(lookup_address(vip), protocol, ports)).into_iter().flatten()
}

/// What a frontend is served by. Of a range it is the value of the first piece that there is.
pub fn value_of<'a>(observed: &'a Observed, frontend: &Frontend) -> Option<&'a ServiceValue> {
    match service_key(frontend) {
        Some(key) => observed.services.get(&key),
        None => range_keys(frontend).find_map(|key| observed.ranges.get(&key)),
    }
}

/// Operations that make frontends live, each with its place in the list as the index of its counters.
#[cfg(test)]
pub fn frontend_ops(all: &[Frontend]) -> Vec<crate::dataplane::Op> {
    use crate::dataplane::Op;
    use lb_common::abi::{AddressFlags, Lookups, NetworkValue};
    let flags = AddressFlags::VIP | AddressFlags::ANY_PORT | AddressFlags::RANGES;
    let mut ops = vec![Op::SetLookups(Lookups::PORTS | Lookups::NETWORKS)];
    for (frontend, index) in all.iter().zip(0..) {
        let value = ServiceValue { mode: 1, ..ServiceValue::of_address(index) };
        ops.extend(service_key(frontend).map(|key| Op::PutService(key, value)));
        ops.extend(range_keys(frontend).map(|key| Op::PutRange(key, value)));
        let alias = lookup_address(frontend.vip);
        ops.push(match network_prefix(frontend.vip) {
            Some(network) => Op::PutNetwork(network, NetworkValue { alias }),
            None => Op::PutAddress(alias, flags),
        });
    }
    ops
}

/// What the datapath finds.
#[cfg(test)]
pub fn service_of(tables: &lb_common::tables::MemTables, key: &ServiceKey, v4: bool) -> Option<ServiceValue> {
    lb_common::pipeline::find_service(tables, key.address, key.port, key.protocol, v4)
}
