//! VLAN interfaces: the port and the tags of frames that leave by them.
//!
//! Always holds: while a backend's entry says [`BackendFlags::TAGGED`], the map has its interface.

use super::Desired;
use super::backends::Entries;
use super::clearing::gone;
use crate::dataplane::{Observed, Op};
use lb_common::abi::{self, BackendFlags, ip_address};
use std::collections::BTreeSet;

/// Says in a backend's entry whether its way is a VLAN interface. One that was kept as it is, because its way was not
/// looked up yet, keeps what it says.
pub(super) fn mark(desired: &Desired<'_>, entry: &mut abi::Backend) {
    if entry.flags & BackendFlags::RESOLVED != 0 && desired.links.contains_key(&entry.ifindex) {
        entry.flags |= BackendFlags::TAGGED;
    }
}

/// Before any backend names them.
pub(super) fn plan_additions(desired: &Desired<'_>, observed: &Observed, ops: &mut Vec<Op>) {
    let changed = desired.links.iter().filter(|(ifindex, link)| observed.links.get(ifindex) != Some(link));
    ops.extend(changed.map(|(ifindex, link)| Op::PutLink(*ifindex, *link)));
}

/// After no backend names them any more.
pub(super) fn plan_removals(
    desired: &Desired<'_>,
    observed: &Observed,
    entries: &Entries,
    ops: &mut Vec<Op>,
) {
    let unknown = |entry: &&abi::Backend| !desired.hops.contains_key(&ip_address(entry.address));
    let named: BTreeSet<u32> = entries
        .values()
        .map(|(_, entry)| entry)
        .chain(gone(entries, observed).map(|gone| gone.entry).filter(unknown))
        .filter(|entry| entry.flags & BackendFlags::TAGGED != 0)
        .map(|entry| entry.ifindex)
        .collect();
    let unwanted = |ifindex: &&u32| !desired.links.contains_key(ifindex) && !named.contains(ifindex);
    ops.extend(observed.links.keys().filter(unwanted).map(|ifindex| Op::DeleteLink(*ifindex)));
}
