//! Whose frontend a flow is: what the datapath would find, for every entry of the flow table.
//!
//! Always holds: it answers as `lb_common::pipeline::find_service` does over the same frontends.

use crate::model::{Frontend, Ports, Prefix};
use crate::reconcile::{lookup_address, protocol_number};
use fnv::FnvHashMap;
use lb_common::abi::{Address, ServiceKey, ip_address};

/// Ports with what they are found as, by the first one.
type Ranges<V> = Vec<(u16, u16, V)>;

/// Frontends by what packets have.
pub(super) struct Directory<V> {
    /// Single ports; any port under port 0.
    exact: FnvHashMap<ServiceKey, V>,
    /// Ranges of an address and protocol, in order; they do not overlap.
    ranges: FnvHashMap<(Address, u8), Ranges<V>>,
    /// Networks, the longest prefix first.
    networks: Vec<(Prefix, Address)>,
}

impl<V> Directory<V> {
    /// The directory of some frontends.
    pub fn new(frontends: impl Iterator<Item = (Frontend, V)>) -> Self {
        let mut directory =
            Self { exact: FnvHashMap::default(), ranges: FnvHashMap::default(), networks: Vec::new() };
        for (frontend, value) in frontends {
            let (address, protocol) = (lookup_address(frontend.vip), protocol_number(frontend.protocol));
            let exact = |port: u16| ServiceKey { address, port: port.to_be(), protocol, zero: 0 };
            match frontend.ports {
                Ports::One(port) => drop(directory.exact.insert(exact(port), value)),
                Ports::Any => drop(directory.exact.insert(exact(0), value)),
                Ports::Range(first, last) => {
                    directory.ranges.entry((address, protocol)).or_default().push((first, last, value));
                }
            }
            if frontend.vip.single().is_none() {
                directory.networks.push((frontend.vip, address));
            }
        }
        directory.ranges.values_mut().for_each(|ranges| ranges.sort_by_key(|(first, ..)| *first));
        directory.networks.sort_by_key(|(prefix, _)| (std::cmp::Reverse(prefix.bits()), *prefix));
        directory.networks.dedup();
        directory
    }

    /// What a packet to that address, port (as it lies in the packet) and protocol is found as.
    pub fn find(&self, key: &ServiceKey) -> Option<&V> {
        self.find_at(key).or_else(|| {
            // Addresses before networks, and of these the longest alone.
            let ip = (!self.networks.is_empty()).then(|| ip_address(key.address))?;
            let (_, alias) = self.networks.iter().find(|(prefix, _)| prefix.contains(ip))?;
            self.find_at(&ServiceKey { address: *alias, ..*key })
        })
    }

    fn find_at(&self, key: &ServiceKey) -> Option<&V> {
        let exact = self.exact.get(key);
        exact.or_else(|| self.find_range(key)).or_else(|| self.exact.get(&ServiceKey { port: 0, ..*key }))
    }

    fn find_range(&self, key: &ServiceKey) -> Option<&V> {
        let ranges = self.ranges.get(&(key.address, key.protocol))?;
        let port = u16::from_be(key.port);
        let behind = ranges.partition_point(|(first, ..)| *first <= port);
        let (_, last, value) = ranges.get(behind.checked_sub(1)?)?;
        (port <= *last).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::{Capacity, Dataplane as _, FakeDataplane};
    use crate::model::Protocol;
    use crate::reconcile::{frontend_ops, service_of};
    use lb_common::abi::is_mapped;
    use lb_common::hash::HashKey;
    use proptest::prelude::*;

    const CAPACITY: Capacity = Capacity { services: 64, backends: 1, slots: 1, flows: 1, sessions: 1 };

    fn vips() -> impl Strategy<Value = Prefix> {
        let around = |text: &str, bits| Prefix::around(text.parse().unwrap(), bits).unwrap();
        proptest::sample::select(vec![
            around("203.0.113.1", 32),
            around("203.0.113.2", 32),
            around("203.0.113.0", 30),
            around("203.0.113.0", 24),
            around("2001:db8::1", 128),
            around("2001:db8::", 126),
        ])
    }

    fn ports() -> impl Strategy<Value = Ports> {
        prop_oneof![
            (1_u16..12).prop_map(Ports::One),
            (1_u16..10, 1_u16..5).prop_map(|(first, more)| Ports::Range(first, first + more)),
            Just(Ports::Any),
        ]
    }

    fn frontends() -> impl Strategy<Value = Vec<Frontend>> {
        let one = (vips(), ports(), any::<bool>()).prop_map(|(vip, ports, tcp)| Frontend {
            vip,
            ports,
            protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
        });
        proptest::collection::vec(one, 0..24).prop_map(|all| {
            // As the configuration makes sure: no frontend twice, and no overlapping ranges.
            let mut kept: Vec<Frontend> = Vec::new();
            for frontend in all {
                let is_range = |frontend: &Frontend| matches!(frontend.ports, Ports::Range(..));
                let clashes = |other: &Frontend| {
                    (other.vip, other.protocol) == (frontend.vip, frontend.protocol)
                        && (other.ports == frontend.ports
                            || is_range(other) && is_range(&frontend) && other.ports.overlap(frontend.ports))
                };
                if !kept.iter().any(clashes) {
                    kept.push(frontend);
                }
            }
            kept
        })
    }

    proptest! {
        /// Every address and port near those that there are, on the maps and in the directory.
        #[test]
        fn it_finds_what_the_datapath_finds(frontends in frontends()) {
            let mut dataplane = FakeDataplane::new(CAPACITY, HashKey(1, 2));
            for op in frontend_ops(&frontends) {
                dataplane.apply(&op).unwrap();
            }
            let directory = Directory::new(frontends.into_iter().zip(0_u32..));
            let addresses = ["203.0.113.0", "203.0.113.1", "203.0.113.2", "203.0.113.9", "203.0.114.1", "2001:db8::",
                "2001:db8::1", "2001:db8::3", "2001:db8::4"];
            for address in addresses.map(|text| lb_common::abi::address(text.parse().unwrap())) {
                for (port, protocol) in (0_u16..16).flat_map(|port| [(port, 6), (port, 17)]) {
                    let key = ServiceKey { address, port: port.to_be(), protocol, zero: 0 };
                    let found = service_of(&dataplane.tables, &key, is_mapped(address));
                    prop_assert_eq!(directory.find(&key).copied(), found.map(|value| value.index), "{:?}", key);
                }
            }
        }
    }
}
