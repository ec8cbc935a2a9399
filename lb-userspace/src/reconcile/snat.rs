//! Addresses that `full-nat` sends from: where they are in their table.
//!
//! Always holds: those of a pool and family lie one after the other; who has indexes keeps them; an entry is there as long as
//! a backend names it, also one that is gone.

use super::{Desired, ReconcileError};
use crate::dataplane::{Observed, Op};
use lb_common::abi::{Address, SNAT_ADDRESSES, address};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A run of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub first: u16,
    pub count: u16,
}

impl Run {
    fn indexes(self) -> impl Iterator<Item = u32> {
        (u32::from(self.first)..).take(usize::from(self.count))
    }
}

/// Where the addresses of every pool are.
pub(super) struct Snat {
    /// By pool, and whether they are IPv4.
    runs: BTreeMap<(String, bool), Run>,
    /// The table as it shall be before anything is taken away.
    pub entries: BTreeMap<u32, Address>,
}

impl Snat {
    /// What a backend's connections are sent from.
    pub fn run(&self, pool: &str, backend: IpAddr) -> Run {
        self.runs.get(&(pool.to_owned(), backend.is_ipv4())).copied().unwrap_or_default()
    }

    /// The table without what no backend names: `gone` are the runs of backends that the configuration has no more.
    pub fn left(&self, gone: impl Iterator<Item = Run>) -> BTreeMap<u32, Address> {
        let indexes = self.runs.values().copied().chain(gone).flat_map(Run::indexes);
        indexes.filter_map(|index| Some((index, *self.entries.get(&index)?))).collect()
    }
}

/// Finds a place for the addresses of every pool, and writes those that are new.
pub(super) fn plan_snat(
    desired: &Desired<'_>,
    observed: &Observed,
    ops: &mut Vec<Op>,
) -> Result<Snat, ReconcileError> {
    let wanted = wanted(desired);
    let mut snat = Snat { runs: BTreeMap::new(), entries: observed.snat.clone() };
    // First all that can stay, then the others around them.
    for (key, addresses) in &wanted {
        if let Some(first) = place_again(&snat.entries, &observed.snat, addresses) {
            snat.put(key, first, addresses);
        }
    }
    for (key, addresses) in &wanted {
        if !snat.runs.contains_key(key) {
            let first = free_run(&snat.entries, addresses.len())
                .ok_or(ReconcileError::NoSnatRun { pool: key.0.clone(), count: addresses.len() })?;
            snat.put(key, first, addresses);
        }
    }
    let new = snat.entries.iter().filter(|(index, address)| observed.snat.get(index) != Some(address));
    ops.extend(new.map(|(index, address)| Op::PutSnat { index: *index, address: *address }));
    Ok(snat)
}

impl Snat {
    fn put(&mut self, key: &(String, bool), first: u16, addresses: &[Address]) {
        let count = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
        self.entries.extend((u32::from(first)..).zip(addresses.iter().copied()));
        self.runs.insert(key.clone(), Run { first, count });
    }
}

/// The addresses of every pool and family.
fn wanted(desired: &Desired<'_>) -> BTreeMap<(String, bool), Vec<Address>> {
    let mut wanted: BTreeMap<(String, bool), Vec<Address>> = BTreeMap::new();
    for (name, pool) in &desired.model.pools {
        for ip in &pool.snat {
            wanted.entry((name.clone(), ip.is_ipv4())).or_default().push(address(*ip));
        }
    }
    wanted
}

/// Where a run begins whose first address is there, if the others are behind it or have room there.
fn place_again(
    taken: &BTreeMap<u32, Address>,
    observed: &BTreeMap<u32, Address>,
    addresses: &[Address],
) -> Option<u16> {
    let first_address = addresses.first()?;
    let starts = observed.iter().filter(|(_, address)| *address == first_address).map(|(index, _)| *index);
    let fits = |first: &u32| {
        let mut places = (*first..).zip(addresses);
        places.all(|(index, address)| {
            index < SNAT_ADDRESSES && taken.get(&index).is_none_or(|present| present == address)
        })
    };
    starts.into_iter().find(fits).and_then(|first| u16::try_from(first).ok())
}

/// Where the first free run of that length begins.
fn free_run(taken: &BTreeMap<u32, Address>, count: usize) -> Option<u16> {
    let mut free = 0;
    for index in 0..SNAT_ADDRESSES {
        free = if taken.contains_key(&index) { 0 } else { free + 1 };
        if free == count {
            return u16::try_from(index as usize + 1 - count).ok();
        }
    }
    None
}
