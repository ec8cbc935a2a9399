//! Desired state against what is in the maps: the operations that make the second the first.
//!
//! Role: pure; no clock, no IO. Imports model, the dataplane's types and lb-common. Always holds: applying the plan
//! and planning again gives an empty plan; every prefix of a plan leaves maps that forward (a frontend goes live only
//! after its table, backends and return path are there; what is taken away goes last, after the last reader).

use crate::dataplane::{Observed, Op, Region};
use crate::model::{AdminState, Backend, ForwardMode, Frontend, Model, Pool, Protocol};
use lb_common::abi::{
    self, BackendFlags, BackendIdentity, ReverseKey, ReverseValue, ServiceKey, ServiceValue, Slot, address,
};
use lb_common::maglev::{self, Member};
use lb_common::pipeline::dsr_ipip;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A backend's name: pool and name within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub name: String,
}

/// The way to an address, as the routing and neighbour tables have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface to send by.
    pub ifindex: u32,
    /// MAC of that interface.
    pub source_mac: [u8; 6],
    /// MAC of the next hop; none while the neighbour is not resolved.
    pub destination_mac: Option<[u8; 6]>,
    /// Largest IP packet in bytes.
    pub mtu_bytes: u32,
    /// Address that the node sends from on this way.
    pub preferred_source: Option<IpAddr>,
}

/// What a plan is made from.
pub struct Desired<'a> {
    /// The configuration.
    pub model: &'a Model,
    /// Backends that may take new flows as far as health goes.
    pub healthy: &'a BTreeSet<BackendName>,
    /// Ways to backends. An address that is missing has none.
    pub hops: &'a BTreeMap<IpAddr, Hop>,
    /// Interfaces to allow redirects to.
    pub devices: &'a BTreeSet<u32>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// More of something than a map holds.
    #[error(
        "{wanted} {what} do not fit into the {capacity} of node.limits.{limit}; raise it, run `lbd remove` and start again"
    )]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        wanted: u64,
        /// How many fit.
        capacity: u32,
        /// Name of the setting.
        limit: &'static str,
    },
    /// No run of free slots is long enough for a new table beside the old ones.
    #[error(
        "no {count} slots in a row are free for the new table of pool {pool}; raise node.limits.slots ({capacity})"
    )]
    NoRoom {
        /// The pool.
        pool: String,
        /// Slots of its table.
        count: u32,
        /// Slots in all.
        capacity: u32,
    },
}

/// Identity of a backend: the same on every node and after every restart. Never 0.
pub fn identity(pool: &str, backend: &Backend) -> BackendIdentity {
    let mut hash = fnv::FnvHasher::default();
    std::hash::Hasher::write(&mut hash, pool.as_bytes());
    std::hash::Hasher::write(&mut hash, &[0]);
    std::hash::Hasher::write(&mut hash, bytemuck::bytes_of(&address(backend.address)));
    std::hash::Hasher::write(&mut hash, &backend.port.unwrap_or(0).to_be_bytes());
    BackendIdentity { identity: std::hash::Hasher::finish(&hash).max(1) }
}

/// The datapath's key of a frontend.
pub fn service_key(frontend: &Frontend) -> ServiceKey {
    ServiceKey {
        address: address(frontend.address.ip()),
        port: frontend.address.port().to_be(),
        protocol: protocol_number(frontend.protocol),
        zero: 0,
    }
}

const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => lb_common::wire::tcp::PROTOCOL,
        Protocol::Udp => lb_common::wire::udp::PROTOCOL,
    }
}

const fn mode_number(mode: ForwardMode) -> u8 {
    (match mode {
        ForwardMode::Nat => abi::ForwardMode::Nat,
        ForwardMode::DsrL2 => abi::ForwardMode::DsrL2,
        ForwardMode::DsrIpip => abi::ForwardMode::DsrIpip,
    }) as u8
}

/// Members of a pool's table: who may take new flows, with what weight.
fn members(pool_name: &str, pool: &Pool, desired: &Desired<'_>, indexes: &BTreeMap<u64, u32>) -> Vec<Member> {
    let takes_flows = |backend: &&Backend| {
        let name = BackendName { pool: pool_name.to_owned(), name: backend.name.clone() };
        backend.state == AdminState::Active && backend.weight > 0 && desired.healthy.contains(&name)
    };
    let member = |backend: &Backend| {
        let identity = identity(pool_name, backend).identity;
        Some(Member { identity, index: *indexes.get(&identity)?, weight: backend.weight })
    };
    pool.backends.iter().filter(takes_flows).filter_map(member).collect()
}

/// A pool's table and what it was built from.
struct Built {
    members: Vec<Member>,
    slot_count: u32,
    slots: Vec<Slot>,
}

/// Makes plans, and remembers built tables between them: building is the only part that takes milliseconds.
#[derive(Default)]
pub struct Reconciler {
    built: BTreeMap<String, Built>,
}

/// Where a pool's table lives.
struct Placed {
    region: Region,
}

impl Reconciler {
    /// The operations that lead from `observed` to `desired`, in order.
    ///
    /// # Errors
    /// When it does not fit into the maps.
    pub fn plan(&mut self, desired: &Desired<'_>, observed: &Observed) -> Result<Vec<Op>, ReconcileError> {
        let mut ops = Vec::new();
        ops.extend(desired.devices.difference(&observed.devices).map(|ifindex| Op::PutDevice(*ifindex)));
        let indexes = plan_backends(desired, observed, &mut ops)?;
        let placed = self.plan_tables(desired, observed, &indexes, &mut ops)?;
        let services = plan_services(desired, observed, &placed)?;
        let reverse = reverse_entries(desired, &services, &indexes);
        plan_reverse_additions(&reverse, observed, &mut ops);
        plan_switch(&services, observed, &mut ops);
        plan_removals(&services, &reverse, &indexes, observed, &mut ops);
        Ok(ops)
    }

    /// Finds or makes a table for every pool that a service uses.
    fn plan_tables(
        &mut self,
        desired: &Desired<'_>,
        observed: &Observed,
        indexes: &BTreeMap<u64, u32>,
        ops: &mut Vec<Op>,
    ) -> Result<BTreeMap<String, Placed>, ReconcileError> {
        let mut placed = BTreeMap::new();
        let mut taken: BTreeSet<Region> = observed.tables.keys().copied().collect();
        self.built.retain(|pool, _| desired.model.pools.contains_key(pool));
        for (name, pool) in used_pools(desired.model) {
            let slots = self.table(name, pool, members(name, pool, desired, indexes));
            let region = match region_in_use(desired.model, name, observed, slots) {
                Some(region) => region,
                None if slots.is_empty() => Region { offset: 0, count: 0 },
                None => {
                    let region =
                        free_region(&taken, pool.slots, observed.capacity.slots).ok_or_else(|| {
                            ReconcileError::NoRoom {
                                pool: name.to_owned(),
                                count: pool.slots,
                                capacity: observed.capacity.slots,
                            }
                        })?;
                    taken.insert(region);
                    ops.push(Op::WriteSlots { offset: region.offset, slots: slots.to_vec() });
                    region
                }
            };
            placed.insert(name.to_owned(), Placed { region });
        }
        Ok(placed)
    }

    /// The slots of a pool's table; empty when nobody takes flows.
    fn table(&mut self, name: &str, pool: &Pool, members: Vec<Member>) -> &[Slot] {
        let fresh = |built: &Built| built.members == members && built.slot_count == pool.slots;
        if !self.built.get(name).is_some_and(fresh) {
            let slots = maglev::build(&members, pool.slots).into_iter().map(Slot::stable).collect();
            self.built.insert(name.to_owned(), Built { members, slot_count: pool.slots, slots });
        }
        self.built.get(name).map_or(&[], |built| &built.slots)
    }
}

/// Pools that a service uses.
fn used_pools(model: &Model) -> impl Iterator<Item = (&str, &Pool)> {
    let used: BTreeSet<&str> = model.services.values().map(|service| service.pool.as_str()).collect();
    model.pools.iter().map(|(name, pool)| (name.as_str(), pool)).filter(move |(name, _)| used.contains(name))
}

/// Frontends with the pools that serve them.
fn frontends(model: &Model) -> impl Iterator<Item = (Frontend, &str, &Pool)> {
    model.services.values().flat_map(|service| {
        let pool = model.pools.get_key_value(&service.pool);
        service.frontends().filter_map(move |frontend| {
            let (name, pool) = pool?;
            Some((frontend, name.as_str(), pool))
        })
    })
}

/// Gives every backend an index and its entry. Who has an index keeps it.
fn plan_backends(
    desired: &Desired<'_>,
    observed: &Observed,
    ops: &mut Vec<Op>,
) -> Result<BTreeMap<u64, u32>, ReconcileError> {
    let former: BTreeMap<u64, u32> =
        observed.backends.iter().map(|(index, (identity, _))| (identity.identity, *index)).collect();
    let mut free = (0..observed.capacity.backends).filter(|index| !observed.backends.contains_key(index));
    let mut indexes = BTreeMap::new();
    for (pool_name, pool) in &desired.model.pools {
        for backend in &pool.backends {
            let identity = identity(pool_name, backend);
            let index = match former.get(&identity.identity) {
                Some(index) => *index,
                None => free.next().ok_or_else(|| too_many_backends(desired.model, observed))?,
            };
            if !former.contains_key(&identity.identity) {
                ops.push(Op::ResetBackendCounters(index));
            }
            indexes.insert(identity.identity, index);
            let entry = backend_entry(pool.mode, backend, desired);
            if observed.backends.get(&index) != Some(&(identity, entry)) {
                ops.push(Op::PutBackend { index, identity, backend: entry });
            }
        }
    }
    Ok(indexes)
}

fn too_many_backends(model: &Model, observed: &Observed) -> ReconcileError {
    let wanted = model.pools.values().map(|pool| pool.backends.len() as u64).sum();
    ReconcileError::TooMany {
        what: "backends",
        wanted,
        capacity: observed.capacity.backends,
        limit: "backends",
    }
}

/// Everything that forwarding to a backend needs.
fn backend_entry(mode: ForwardMode, backend: &Backend, desired: &Desired<'_>) -> abi::Backend {
    let hop = desired.hops.get(&backend.address);
    let source = tunnel_source(backend.address, hop, desired.model);
    let mut flags = BackendFlags::VALID;
    if mode == ForwardMode::DsrIpip && source.is_none() {
        // A tunnel from no address would be dropped by the backend without a word.
        flags = 0;
    }
    let mut entry = abi::Backend {
        address: address(backend.address),
        port: backend.port.unwrap_or(0).to_be(),
        flags,
        ..bytemuck::Zeroable::zeroed()
    };
    if let (ForwardMode::DsrIpip, Some(source)) = (mode, source) {
        entry.tunnel_source = address(source);
        if let ([_, _, _, source], [_, _, _, destination], true) =
            (entry.tunnel_source, entry.address, backend.address.is_ipv4())
        {
            entry.outer_sum = dsr_ipip::outer_sum(source, destination);
        }
    }
    if let Some((hop, destination)) = hop.and_then(|hop| Some((hop, hop.destination_mac?))) {
        entry.ethernet = ethernet(destination, hop.source_mac);
        entry.ifindex = hop.ifindex;
        entry.mtu_bytes = u16::try_from(hop.mtu_bytes).unwrap_or(u16::MAX);
        entry.flags |= BackendFlags::RESOLVED;
    }
    entry
}

fn tunnel_source(backend: IpAddr, hop: Option<&Hop>, model: &Model) -> Option<IpAddr> {
    let same_family = |source: &&IpAddr| source.is_ipv4() == backend.is_ipv4();
    let configured = model.node.tunnel_sources.iter().find(same_family).copied();
    configured.or(hop?.preferred_source)
}

/// Destination and source MAC as they lie in a frame.
fn ethernet(destination: [u8; 6], source: [u8; 6]) -> [u32; 3] {
    let mut bytes = [0; 12];
    let (first, second) = bytes.split_at_mut(6);
    first.copy_from_slice(&destination);
    second.copy_from_slice(&source);
    bytemuck::cast(bytes)
}

/// The region that a frontend of this pool points to, if it holds just these slots.
fn region_in_use(model: &Model, pool: &str, observed: &Observed, slots: &[Slot]) -> Option<Region> {
    let of_pool = frontends(model).filter(|(_, name, _)| *name == pool);
    let region = |value: &ServiceValue| Region { offset: value.slot_offset, count: value.slot_count };
    of_pool
        .filter_map(|(frontend, _, _)| observed.services.get(&service_key(&frontend)))
        .map(region)
        .find(|region| observed.tables.get(region).is_some_and(|table| table == slots))
}

/// The first free run of `count` slots.
fn free_region(taken: &BTreeSet<Region>, count: u32, capacity: u32) -> Option<Region> {
    let mut offset = 0_u32;
    for region in taken {
        if region.offset >= offset && region.offset - offset >= count {
            break;
        }
        offset = offset.max(region.offset.checked_add(region.count)?);
    }
    (offset.checked_add(count)? <= capacity).then_some(Region { offset, count })
}

/// The value of every frontend. Who has an index for its counters keeps it.
fn plan_services(
    desired: &Desired<'_>,
    observed: &Observed,
    placed: &BTreeMap<String, Placed>,
) -> Result<BTreeMap<ServiceKey, ServiceValue>, ReconcileError> {
    let used: BTreeSet<u32> = observed.services.values().map(|value| value.index).collect();
    let mut free = (0..observed.capacity.services).filter(|index| !used.contains(index));
    let mut services = BTreeMap::new();
    for (frontend, pool_name, pool) in frontends(desired.model) {
        let Some(Placed { region }) = placed.get(pool_name) else { continue };
        let key = service_key(&frontend);
        let index = match observed.services.get(&key) {
            Some(value) => value.index,
            None => free.next().ok_or_else(|| ReconcileError::TooMany {
                what: "frontends",
                wanted: frontends(desired.model).count() as u64,
                capacity: observed.capacity.services,
                limit: "services",
            })?,
        };
        let value = ServiceValue {
            slot_offset: region.offset,
            slot_count: region.count,
            index,
            mode: mode_number(pool.mode),
            zero: [0; 3],
        };
        services.insert(key, value);
    }
    Ok(services)
}

/// The return path of every nat frontend and backend.
fn reverse_entries(
    desired: &Desired<'_>,
    services: &BTreeMap<ServiceKey, ServiceValue>,
    indexes: &BTreeMap<u64, u32>,
) -> BTreeMap<ReverseKey, ReverseValue> {
    let mut reverse = BTreeMap::new();
    for (frontend, pool_name, pool) in frontends(desired.model) {
        let key = service_key(&frontend);
        let Some(service) = services.get(&key) else { continue };
        if pool.mode != ForwardMode::Nat {
            continue;
        }
        for backend in &pool.backends {
            let Some(index) = indexes.get(&identity(pool_name, backend).identity) else { continue };
            let port = backend.port.unwrap_or_else(|| frontend.address.port()).to_be();
            let from =
                ReverseKey { address: address(backend.address), port, protocol: key.protocol, zero: 0 };
            let value = ReverseValue {
                vip: key.address,
                port: key.port,
                zero: 0,
                service_index: service.index,
                backend_index: *index,
            };
            reverse.insert(from, value);
        }
    }
    reverse
}

fn plan_reverse_additions(
    reverse: &BTreeMap<ReverseKey, ReverseValue>,
    observed: &Observed,
    ops: &mut Vec<Op>,
) {
    for (key, value) in reverse {
        if observed.reverse.get(key) != Some(value) {
            ops.push(Op::PutReverse(*key, *value));
        }
    }
    let entries = u32::try_from(reverse.len()).unwrap_or(u32::MAX);
    if entries > 0 && observed.settings.reverse_entries != entries {
        ops.push(Op::SetReverseEntries(entries));
    }
}

fn plan_switch(services: &BTreeMap<ServiceKey, ServiceValue>, observed: &Observed, ops: &mut Vec<Op>) {
    for (key, value) in services {
        let former = observed.services.get(key);
        if former.is_none() {
            ops.push(Op::ResetServiceCounters(value.index));
        }
        if former != Some(value) {
            ops.push(Op::PutService(*key, *value));
        }
    }
}

/// Takes away what is not wanted any more. Regions and indexes are free for others once the readers are gone.
fn plan_removals(
    services: &BTreeMap<ServiceKey, ServiceValue>,
    reverse: &BTreeMap<ReverseKey, ReverseValue>,
    indexes: &BTreeMap<u64, u32>,
    observed: &Observed,
    ops: &mut Vec<Op>,
) {
    for key in observed.services.keys().filter(|key| !services.contains_key(key)) {
        ops.push(Op::DeleteService(*key));
    }
    let live: BTreeSet<Region> = services
        .values()
        .map(|value| Region { offset: value.slot_offset, count: value.slot_count })
        .collect();
    let cleared: Vec<u32> = observed
        .backends
        .iter()
        .filter(|(_, (identity, _))| !indexes.contains_key(&identity.identity))
        .map(|(index, _)| *index)
        .collect();
    if !cleared.is_empty() || observed.tables.keys().any(|region| !live.contains(region)) {
        ops.push(Op::WaitForReaders);
    }
    for key in observed.reverse.keys().filter(|key| !reverse.contains_key(key)) {
        ops.push(Op::DeleteReverse(*key));
    }
    if reverse.is_empty() && observed.settings.reverse_entries != 0 {
        ops.push(Op::SetReverseEntries(0));
    }
    ops.extend(cleared.into_iter().map(Op::ClearBackend));
}

#[cfg(test)]
mod tests;
