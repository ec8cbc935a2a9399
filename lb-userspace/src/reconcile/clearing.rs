//! What is taken away last: return paths and indexes of backends that the configuration has no more.
//!
//! Always holds: a backend that is gone stays forwardable, with its index and its return path, until no slot and no
//! remembered flow leads to it; its last flows end in peace.

use super::backends::{Entries, with_way};
use super::tables::Placed;
use super::{Desired, Hop, links};
use crate::dataplane::{Observed, Op};
use lb_common::abi::{
    self, BackendFlags, BackendIdentity, ReverseKey, ReverseValue, ServiceKey, ServiceValue, ip_address,
};
use std::collections::{BTreeMap, BTreeSet};

/// A backend that the configuration has no more.
pub(super) struct Gone<'a> {
    pub index: u32,
    pub identity: BackendIdentity,
    pub entry: &'a abi::Backend,
}

/// Backends that the configuration has no more.
pub(super) fn gone<'a>(entries: &'a Entries, observed: &'a Observed) -> impl Iterator<Item = Gone<'a>> {
    let all = observed.backends.iter();
    all.map(|(index, (identity, entry))| Gone { index: *index, identity: *identity, entry })
        .filter(|gone| !entries.contains_key(&gone.identity.identity))
}

/// Keeps the ways to backends that are gone up to date: they may have flows left.
pub(super) fn plan_ways(desired: &Desired<'_>, entries: &Entries, observed: &Observed, ops: &mut Vec<Op>) {
    for Gone { index, identity, entry } in gone(entries, observed) {
        let given_up = desired.given_up.contains(&identity.identity);
        let hop = match desired.hops.get(&ip_address(entry.address)) {
            Some(hop) => *hop,
            // Not looked up yet: what is known of it stays.
            None if !given_up => continue,
            None => None,
        };
        // The mode is not known any more: a frame for a VIP (`dsr-l2`) must not be given to a router. The other modes ask
        // the kernel's routes then.
        let is_tunnel = entry.tunnel_source != [0; 4];
        let hop = hop.filter(|hop: &Hop| !hop.gateway || is_tunnel || entry.port != 0);
        let mut next = with_way(*entry, hop.as_ref());
        links::mark(desired, &mut next);
        if given_up {
            next.flags |= BackendFlags::DEAD;
        }
        if entry.flags & BackendFlags::VALID != 0 && next != *entry {
            ops.push(Op::PutBackend { index, identity, backend: next });
        }
    }
}

/// What of the present state clearing has to look at.
pub(super) struct Leftovers<'a> {
    pub desired: &'a Desired<'a>,
    pub observed: &'a Observed,
    pub entries: &'a Entries,
    pub placed: &'a Placed,
    pub services: &'a BTreeMap<ServiceKey, ServiceValue>,
}

impl Leftovers<'_> {
    /// Frees the return path and the indexes of backends that nothing leads to any more, after the last reader.
    pub fn plan(&self, reverse: &BTreeMap<ReverseKey, ReverseValue>, ops: &mut Vec<Op>) {
        let waited = ops.last() == Some(&Op::WaitForReaders);
        let over = self.over();
        let staying = |value: &ReverseValue| {
            let frontend = (value.vip, value.port);
            self.is_gone(value.backend_index)
                && !over.contains(&value.backend_index)
                && self.services.keys().any(|key| (key.address, key.port) == frontend)
        };
        let mut left = reverse.len();
        for (key, value) in self.observed.reverse.iter().filter(|(key, _)| !reverse.contains_key(key)) {
            if staying(value) {
                left += 1;
            } else {
                ops.push(Op::DeleteReverse(*key));
            }
        }
        if left == 0 && self.observed.settings.reverse_entries != 0 {
            ops.push(Op::SetReverseEntries(0));
        }
        if !over.is_empty() && !waited {
            ops.push(Op::WaitForReaders);
        }
        ops.extend(over.into_iter().map(Op::ClearBackend));
    }

    fn is_gone(&self, index: u32) -> bool {
        let owner = self.observed.backends.get(&index);
        owner.is_some_and(|(identity, _)| !self.entries.contains_key(&identity.identity))
    }

    /// Backends that are gone and that nothing leads to any more: no slot, neither of the tables in force nor of the new
    /// ones, and no flow. As long as flows were not counted, that is not known.
    fn over(&self) -> BTreeSet<u32> {
        let Some(flows_of) = self.desired.flows_of else { return BTreeSet::new() };
        let mut over: BTreeSet<u32> = gone(self.entries, self.observed).map(|gone| gone.index).collect();
        if over.is_empty() {
            return over;
        }
        over.retain(|index| !flows_of.contains(index));
        let mut led_to = self.observed.led_to();
        self.placed.tables.values().for_each(|table| led_to.insert_led_to(&table.slots));
        over.retain(|index| !led_to.contains(*index));
        over
    }
}
