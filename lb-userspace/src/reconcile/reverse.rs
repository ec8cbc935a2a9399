//! The return path of `nat`: from what a backend sends to what the client shall see.

use super::backends::{Entries, identity};
use super::frontends::Frontends;
use super::keys::{pieces, protocol_number};
use super::{Desired, ReconcileError, Served, frontends, lookup_address};
use crate::dataplane::{Observed, Op, PortsPrefix};
use crate::model::{Backend, ForwardMode, Ports};
use lb_common::abi::{Lookups, ReverseKey, ReverseRangeValue, ReverseValue, ServiceValue, address};
use std::collections::BTreeMap;

/// The return path as it shall be.
#[derive(Default)]
pub(super) struct Reverse {
    /// Of single ports.
    pub exact: BTreeMap<ReverseKey, ReverseValue>,
    /// Of ranges, and of any port.
    pub ranges: BTreeMap<PortsPrefix, ReverseRangeValue>,
}

/// The return path of every nat frontend and backend.
pub(super) fn plan_reverse(desired: &Desired<'_>, planned: &Frontends, entries: &Entries) -> Reverse {
    let mut reverse = Reverse::default();
    for served in frontends(desired.model).filter(|served| served.pool.mode == ForwardMode::Nat) {
        let Some(service) = planned.value_of(&served.frontend) else { continue };
        let families = served.table().families;
        for backend in served.pool.backends.iter().filter(|backend| families.admit(backend.address)) {
            if let Some((index, _)) = entries.get(&identity(served.pool_name, backend).identity) {
                reverse.add(&served, service, backend, *index);
            }
        }
    }
    reverse
}

impl Reverse {
    fn add(&mut self, served: &Served<'_>, service: &ServiceValue, backend: &Backend, index: u32) {
        let frontend = &served.frontend;
        let protocol = protocol_number(frontend.protocol);
        let from = address(backend.address);
        let value = ReverseValue {
            vip: lookup_address(frontend.vip),
            // The packet's own.
            port: 0,
            zero: 0,
            service_index: service.index,
            backend_index: index,
        };
        if let Ports::One(own) = frontend.ports {
            let port = backend.port.unwrap_or(own).to_be();
            let key = ReverseKey { address: from, port, protocol, zero: 0 };
            self.exact.insert(key, ReverseValue { port: own.to_be(), ..value });
        } else {
            self.ranges.extend(pieces(from, protocol, frontend.ports).map(|key| (key, value)));
        }
    }

    /// What there is to look for to find it.
    pub fn lookups(&self) -> u32 {
        if self.ranges.is_empty() { 0 } else { Lookups::REVERSE_PORTS }
    }

    pub fn plan_additions(&self, observed: &Observed, ops: &mut Vec<Op>) -> Result<(), ReconcileError> {
        let old = observed.reverse.keys().filter(|key| !self.exact.contains_key(key)).count();
        let old_ranges = observed.reverse_ranges.keys().filter(|key| !self.ranges.contains_key(key)).count();
        check_room(
            "pairs of a nat frontend and a backend (a change counts old and new)",
            self.exact.len() + old,
            observed.capacity.reverse(),
        )?;
        check_room(
            "pieces of ranges of nat frontends and their backends (a change counts old and new)",
            self.ranges.len() + old_ranges,
            observed.capacity.reverse_ranges(),
        )?;
        let exact = self.exact.iter().filter(|(key, value)| observed.reverse.get(key) != Some(value));
        ops.extend(exact.map(|(key, value)| Op::PutReverse(*key, *value)));
        let ranges =
            self.ranges.iter().filter(|(key, value)| observed.reverse_ranges.get(key) != Some(value));
        ops.extend(ranges.map(|(key, value)| Op::PutReverseRange(*key, *value)));
        let entries = u32::try_from(self.exact.len() + self.ranges.len()).unwrap_or(u32::MAX);
        if entries > 0 && observed.settings.reverse_entries != entries {
            ops.push(Op::SetReverseEntries(entries));
        }
        Ok(())
    }
}

fn check_room(what: &'static str, wanted: usize, capacity: u32) -> Result<(), ReconcileError> {
    let wanted = wanted as u64;
    if wanted > u64::from(capacity) {
        let limit = "backends (two pairs for each)";
        return Err(ReconcileError::TooMany { what, wanted, capacity, limit });
    }
    Ok(())
}
