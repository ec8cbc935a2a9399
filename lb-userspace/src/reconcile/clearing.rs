//! What is taken away last: return paths and indexes of backends that the configuration has no more.
//!
//! Always holds: a backend that is gone stays forwardable, with its index and its return path, until no slot and no
//! remembered flow leads to it; its last flows end in peace.

use super::backends::{Entries, with_way};
use super::frontends::Frontends;
use super::reverse::Reverse;
use super::snat::{Run, Snat};
use super::tables::Placed;
use super::{Desired, Hop, links};
use crate::dataplane::{Observed, Op};
use lb_common::abi::{
    self, Address, AddressFlags, BackendFlags, BackendIdentity, Lookups, ReverseValue, ip_address,
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
        let is_routed = entry.tunnel_source != [0; 4] || entry.port != 0 || entry.snat_count != 0;
        let hop = hop.filter(|hop: &Hop| !hop.gateway || is_routed);
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

/// Addresses that `full-nat` sends from, those of backends that are gone among them.
pub(super) fn snat_left(snat: &Snat, entries: &Entries, observed: &Observed) -> BTreeMap<u32, Address> {
    let run = |gone: Gone<'_>| Run { first: gone.entry.snat_first, count: gone.entry.snat_count };
    snat.left(gone(entries, observed).map(run))
}

/// What of the present state clearing has to look at.
pub(super) struct Leftovers<'a> {
    pub desired: &'a Desired<'a>,
    pub observed: &'a Observed,
    pub entries: &'a Entries,
    pub placed: &'a Placed<'a>,
    pub frontends: &'a Frontends,
    pub reverse: &'a Reverse,
}

impl Leftovers<'_> {
    /// Frees the return path and the indexes of backends that nothing leads to any more, after the last reader. Returns what
    /// still has to be looked for.
    pub fn plan(&self, snat: &Snat, ops: &mut Vec<Op>) -> u32 {
        let waited = ops.last() == Some(&Op::WaitForReaders);
        let over = self.over();
        let (left, left_ranges) = self.plan_return_path(&over, ops);
        if left + left_ranges == 0 && self.observed.settings.reverse_entries != 0 {
            ops.push(Op::SetReverseEntries(0));
        }
        let sources = snat_left(snat, self.entries, self.observed);
        let freed: Vec<u32> =
            snat.entries.keys().copied().filter(|index| !sources.contains_key(index)).collect();
        if !waited && (!over.is_empty() || !freed.is_empty()) {
            ops.push(Op::WaitForReaders);
        }
        ops.extend(freed.into_iter().map(|index| Op::PutSnat { index, address: [0; 4] }));
        ops.extend(over.into_iter().map(Op::ClearBackend));
        if left_ranges > 0 { Lookups::REVERSE_PORTS } else { 0 }
    }

    /// Takes away what of the return path nobody needs; says how many entries of single ports and of ranges are left.
    fn plan_return_path(&self, over: &BTreeSet<u32>, ops: &mut Vec<Op>) -> (usize, usize) {
        let Self { observed, reverse, frontends, .. } = self;
        let stays =
            |value: &ReverseValue| self.is_gone(value.backend_index) && !over.contains(&value.backend_index);
        let mut left = reverse.exact.len();
        for (key, value) in observed.reverse.iter().filter(|(key, _)| !reverse.exact.contains_key(key)) {
            let frontend = (value.vip, value.port);
            if stays(value) && frontends.services.keys().any(|key| (key.address, key.port) == frontend) {
                left += 1;
            } else {
                ops.push(Op::DeleteReverse(*key));
            }
        }
        let mut left_ranges = reverse.ranges.len();
        let wide = AddressFlags::RANGES | AddressFlags::ANY_PORT;
        for (key, value) in
            observed.reverse_ranges.iter().filter(|(key, _)| !reverse.ranges.contains_key(key))
        {
            let flags = frontends.addresses.get(&value.vip).copied().unwrap_or(0);
            if stays(value) && flags & wide != 0 {
                left_ranges += 1;
            } else {
                ops.push(Op::DeleteReverseRange(*key));
            }
        }
        (left, left_ranges)
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
