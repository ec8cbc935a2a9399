//! Frontends, their addresses and networks: what they are served by, and in which order they come and go.
//!
//! Always holds: what tells the datapath to look for something is there before it and goes after it.

use super::tables::Placed;
use super::{
    Desired, ReconcileError, affinity_number, frontends, keys, mode_number, network_prefix, service_key,
    value_of,
};
use crate::dataplane::{NetworkPrefix, Observed, Op, PortsPrefix, Region};
use crate::model::{Frontend, Model, Ports};
use lb_common::abi::{
    Address, AddressFlags, Lookups, NetworkValue, RangeValue, ServiceKey, ServiceValue, address,
};
use std::collections::{BTreeMap, BTreeSet};

/// Frontends as they shall be.
pub(super) struct Frontends {
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    pub ranges: BTreeMap<PortsPrefix, RangeValue>,
    networks: BTreeMap<NetworkPrefix, NetworkValue>,
    pub addresses: BTreeMap<Address, u32>,
    /// What there is to look for to find them.
    pub lookups: u32,
    /// Indexes that begin to count.
    fresh: BTreeSet<u32>,
}

/// Frontends with their values. Who has an index for its counters keeps it.
pub(super) fn plan_frontends(
    desired: &Desired<'_>,
    observed: &Observed,
    placed: &Placed<'_>,
    snat: impl Iterator<Item = Address>,
) -> Result<Frontends, ReconcileError> {
    let mut planned = Frontends {
        services: BTreeMap::new(),
        ranges: BTreeMap::new(),
        networks: networks(desired.model),
        addresses: addresses(desired.model, snat),
        lookups: 0,
        fresh: BTreeSet::new(),
    };
    planned.lookups = planned.lookups();
    let used = observed.service_indexes();
    let mut free = (0..observed.capacity.services).filter(|index| !used.contains(index));
    // Pieces of one former range may be of two now.
    let mut claimed = BTreeSet::new();
    for served in frontends(desired.model) {
        let frontend = &served.frontend;
        let former = value_of(observed, frontend);
        let Some(region) = placed.tables.get(&served.table()).map(|table| table.region) else {
            // Its turn comes in the next round; until then it stays as it is.
            planned.keep(observed, service_key(frontend), keys::range_keys(frontend));
            claimed.extend(former.map(|value| value.index));
            continue;
        };
        let index = match former.map(|value| value.index).filter(|index| claimed.insert(*index)) {
            Some(index) => index,
            None => free.next().ok_or_else(|| ReconcileError::TooMany {
                what: "frontends",
                wanted: frontends(desired.model).count() as u64,
                capacity: observed.capacity.services,
                limit: "services",
            })?,
        };
        if former.is_none_or(|value| value.index != index) {
            planned.fresh.insert(index);
        }
        let value = ServiceValue {
            slot_offset: region.offset,
            slot_count: region.count,
            index,
            mode: mode_number(served.pool.mode),
            affinity: affinity_number(served.pool.affinity),
            zero: [0; 2],
        };
        planned.services.extend(service_key(frontend).map(|key| (key, value)));
        planned.ranges.extend(keys::range_keys(frontend).map(|key| (key, value)));
    }
    planned.check_room(observed)?;
    Ok(planned)
}

/// Every network of VIPs.
fn networks(model: &Model) -> BTreeMap<NetworkPrefix, NetworkValue> {
    let vips = model.vips().into_iter();
    vips.filter_map(|vip| Some((network_prefix(vip)?, NetworkValue { alias: keys::lookup_address(vip) })))
        .collect()
}

/// What every address is.
fn addresses(model: &Model, snat: impl Iterator<Item = Address>) -> BTreeMap<Address, u32> {
    let mut addresses: BTreeMap<Address, u32> = BTreeMap::new();
    for served in frontends(model) {
        let Some(vip) = served.frontend.vip.single() else { continue };
        *addresses.entry(address(vip)).or_default() |= AddressFlags::VIP
            | match served.frontend.ports {
                Ports::One(_) => 0,
                Ports::Range(..) => AddressFlags::RANGES,
                Ports::Any => AddressFlags::ANY_PORT,
            };
    }
    for address in snat {
        *addresses.entry(address).or_default() |= AddressFlags::SNAT;
    }
    addresses
}

impl Frontends {
    /// What a frontend will be served by.
    pub fn value_of(&self, frontend: &Frontend) -> Option<&ServiceValue> {
        match service_key(frontend) {
            Some(key) => self.services.get(&key),
            None => keys::range_keys(frontend).find_map(|key| self.ranges.get(&key)),
        }
    }

    fn lookups(&self) -> u32 {
        let of_addresses = self.addresses.values().fold(0, |all, flags| all | flags);
        let ports = of_addresses & (AddressFlags::ANY_PORT | AddressFlags::RANGES) != 0;
        let lookups = [
            (ports, Lookups::PORTS),
            (!self.networks.is_empty(), Lookups::NETWORKS),
            (of_addresses & AddressFlags::SNAT != 0, Lookups::SESSIONS),
        ];
        lookups.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, lookup)| all | lookup)
    }

    /// Takes over what there is of a frontend.
    fn keep(
        &mut self,
        observed: &Observed,
        key: Option<ServiceKey>,
        pieces: impl Iterator<Item = PortsPrefix>,
    ) {
        self.services.extend(key.and_then(|key| observed.services.get(&key).map(|value| (key, *value))));
        self.ranges.extend(pieces.filter_map(|key| observed.ranges.get(&key).map(|value| (key, *value))));
    }

    /// Frontends and addresses are in one table, old ones beside new ones.
    fn check_room(&self, observed: &Observed) -> Result<(), ReconcileError> {
        let old_services = observed.services.keys().filter(|key| !self.services.contains_key(key)).count();
        let old_addresses =
            observed.addresses.keys().filter(|address| !self.addresses.contains_key(*address)).count();
        let wanted = (self.services.len() + self.addresses.len() + old_services + old_addresses) as u64;
        let capacity = observed.capacity.service_keys();
        if wanted > u64::from(capacity) {
            return Err(ReconcileError::TooMany {
                what: "frontends and addresses (a change counts old and new)",
                wanted,
                capacity,
                limit: "services (two for each)",
            });
        }
        Ok(())
    }

    /// Tells the datapath what there is to look for, beside what it looks for already.
    pub fn plan_announcing(&self, lookups: u32, observed: &Observed, ops: &mut Vec<Op>) {
        let before = observed.settings.lookups;
        if before | lookups != before {
            ops.push(Op::SetLookups(before | lookups));
        }
        for (address, flags) in &self.addresses {
            let former = observed.addresses.get(address).copied();
            let both = former.unwrap_or(0) | flags;
            if former != Some(both) {
                ops.push(Op::PutAddress(*address, both));
            }
        }
    }

    pub fn plan_switch(&self, observed: &Observed, ops: &mut Vec<Op>) {
        ops.extend(self.fresh.iter().map(|index| Op::ResetServiceCounters(*index)));
        let services = self.services.iter().filter(|(key, value)| observed.services.get(key) != Some(value));
        ops.extend(services.map(|(key, value)| Op::PutService(*key, *value)));
        let ranges = self.ranges.iter().filter(|(key, value)| observed.ranges.get(key) != Some(value));
        ops.extend(ranges.map(|(key, value)| Op::PutRange(*key, *value)));
        let networks = self.networks.iter().filter(|(key, value)| observed.networks.get(key) != Some(value));
        ops.extend(networks.map(|(key, value)| Op::PutNetwork(*key, *value)));
    }

    /// Takes frontends away, and waits for the last reader of tables that nobody points to any more.
    pub fn plan_removals(&self, observed: &Observed, ops: &mut Vec<Op>) {
        let networks = observed.networks.keys().filter(|key| !self.networks.contains_key(key));
        ops.extend(networks.map(|key| Op::DeleteNetwork(*key)));
        let services = observed.services.keys().filter(|key| !self.services.contains_key(key));
        ops.extend(services.map(|key| Op::DeleteService(*key)));
        let ranges = observed.ranges.keys().filter(|key| !self.ranges.contains_key(key));
        ops.extend(ranges.map(|key| Op::DeleteRange(*key)));
        let live: BTreeSet<Region> =
            self.services.values().chain(self.ranges.values()).map(Region::of).collect();
        if observed.tables.keys().any(|region| !live.contains(region)) {
            ops.push(Op::WaitForReaders);
        }
    }

    /// Ends looking for what is not there any more. `lookups` are those that are left.
    pub fn plan_ending(&self, lookups: u32, observed: &Observed, ops: &mut Vec<Op>) {
        for (address, before) in &observed.addresses {
            match self.addresses.get(address) {
                None => ops.push(Op::DeleteAddress(*address)),
                Some(flags) if before | flags != *flags => ops.push(Op::PutAddress(*address, *flags)),
                Some(_) => {}
            }
        }
        if observed.settings.lookups & !lookups != 0 {
            ops.push(Op::SetLookups(lookups));
        }
    }
}
