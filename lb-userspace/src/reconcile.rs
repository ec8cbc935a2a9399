//! Desired state against what is in the maps: the operations that make the second the first.
//!
//! Role: pure; no clock, no IO. Imports model, the dataplane's types and lb-common. Always holds: applying the plan
//! and planning again gives an empty plan; every prefix of a plan leaves maps that forward (a frontend goes live only
//! after its table, backends and return path are there; what is taken away goes last, after the last reader).

use crate::dataplane::{Observed, Op, Region};
use crate::model::{AdminState, Affinity, Backend, ForwardMode, Frontend, Model, Pool, Protocol};
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
    /// Whether a router is on the way.
    pub gateway: bool,
}

/// What a plan is made from.
pub struct Desired<'a> {
    /// The configuration.
    pub model: &'a Model,
    /// Backends that may take new flows as far as health goes.
    pub healthy: &'a BTreeSet<BackendName>,
    /// Ways to backends: none where there is known to be none. An address that is missing was not looked up yet; what
    /// the maps say of it stays.
    pub hops: &'a BTreeMap<IpAddr, Option<Hop>>,
    /// Interfaces to allow redirects to.
    pub devices: &'a BTreeSet<u32>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// Whether they lead all the way. If not, there was no room for every new table beside the old ones: carry them
    /// out, look again and plan again.
    pub complete: bool,
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
        "no {count} slots in a row are free for the new table of pool {pool}; raise node.limits.slots ({capacity}), \
         run `lbd remove` and start again"
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

const fn affinity_number(affinity: Affinity) -> u8 {
    (match affinity {
        Affinity::Flow => abi::Affinity::Flow,
        Affinity::Source => abi::Affinity::Source,
        Affinity::SourceVip => abi::Affinity::SourceVip,
    }) as u8
}

/// Every backend's index and entry, by identity.
type Entries = BTreeMap<u64, (u32, abi::Backend)>;

/// Members of a pool's table: who may take new flows, with what weight. Backends that nothing can be sent to are left
/// out as long as there is another one.
fn members(pool_name: &str, pool: &Pool, desired: &Desired<'_>, entries: &Entries) -> Vec<Member> {
    let takes_flows = |backend: &&Backend| {
        let name = BackendName { pool: pool_name.to_owned(), name: backend.name.clone() };
        backend.state == AdminState::Active && backend.weight > 0 && desired.healthy.contains(&name)
    };
    let member = |backend: &Backend| {
        let identity = identity(pool_name, backend).identity;
        let (index, entry) = entries.get(&identity)?;
        Some((Member { identity, index: *index, weight: backend.weight }, can_be_sent_to(pool.mode, entry)))
    };
    let candidates: Vec<(Member, bool)> =
        pool.backends.iter().filter(takes_flows).filter_map(member).collect();
    let any = candidates.iter().any(|(_, reachable)| *reachable);
    candidates.into_iter().filter(|(_, reachable)| *reachable || !any).map(|(member, _)| member).collect()
}

/// Whether a packet for the backend finds its way: in `nat` through the kernel's tables if need be.
fn can_be_sent_to(mode: ForwardMode, entry: &abi::Backend) -> bool {
    let needed = match mode {
        ForwardMode::Nat => BackendFlags::VALID,
        ForwardMode::DsrL2 | ForwardMode::DsrIpip => BackendFlags::VALID | BackendFlags::RESOLVED,
    };
    entry.flags & needed == needed
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

/// Where the tables of pools live.
struct Placed {
    /// By pool. A pool without one keeps what its frontends have.
    regions: BTreeMap<String, Region>,
    /// Whether every pool has its new table.
    complete: bool,
}

impl Reconciler {
    /// The operations that lead from `observed` to `desired`.
    ///
    /// # Errors
    /// When it does not fit into the maps.
    pub fn plan(&mut self, desired: &Desired<'_>, observed: &Observed) -> Result<Plan, ReconcileError> {
        let mut ops = Vec::new();
        ops.extend(desired.devices.difference(&observed.devices).map(|ifindex| Op::PutDevice(*ifindex)));
        let entries = plan_backends(desired, observed, &mut ops)?;
        let placed = self.plan_tables(desired, observed, &entries, &mut ops)?;
        let services = plan_services(desired, observed, &placed)?;
        let reverse = reverse_entries(desired, &services, &entries);
        plan_reverse_additions(&reverse, observed, &mut ops)?;
        plan_switch(&services, observed, &mut ops);
        plan_removals(&services, observed, &mut ops);
        if placed.complete {
            plan_clearing(&reverse, &entries, observed, &mut ops);
        }
        Ok(Plan { ops, complete: placed.complete })
    }

    /// Finds or makes a table for every pool that a service uses.
    fn plan_tables(
        &mut self,
        desired: &Desired<'_>,
        observed: &Observed,
        entries: &Entries,
        ops: &mut Vec<Op>,
    ) -> Result<Placed, ReconcileError> {
        let mut placed = Placed { regions: BTreeMap::new(), complete: true };
        let mut taken: BTreeSet<Region> = observed.tables.keys().copied().collect();
        let mut refused = None;
        self.built.retain(|pool, _| desired.model.pools.contains_key(pool));
        for (name, pool) in used_pools(desired.model) {
            let slots = self.table(name, pool, members(name, pool, desired, entries));
            let region = match region_in_use(desired.model, name, observed, slots) {
                Some(region) => region,
                None if slots.is_empty() => Region { offset: 0, count: 0 },
                None => {
                    let Some(region) = free_region(&taken, pool.slots, observed.capacity.slots) else {
                        refused = Some((name, pool.slots));
                        placed.complete = false;
                        continue;
                    };
                    taken.insert(region);
                    ops.push(Op::WriteSlots { offset: region.offset, slots: slots.to_vec() });
                    region
                }
            };
            placed.regions.insert(name.to_owned(), region);
        }
        match refused {
            Some((pool, count)) if !frees_a_region(desired.model, observed, &placed) => {
                let capacity = observed.capacity.slots;
                Err(ReconcileError::NoRoom { pool: pool.to_owned(), count, capacity })
            }
            _ => Ok(placed),
        }
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

/// Whether carrying out what was placed leaves a region free that is in use now: then another round has more room.
fn frees_a_region(model: &Model, observed: &Observed, placed: &Placed) -> bool {
    let stays = |(frontend, pool, _): (Frontend, &str, &Pool)| match placed.regions.get(pool) {
        Some(region) => Some(*region),
        None => observed.services.get(&service_key(&frontend)).map(region_of),
    };
    let staying: BTreeSet<Region> = frontends(model).filter_map(stays).collect();
    observed.tables.keys().any(|region| !staying.contains(region))
}

const fn region_of(value: &ServiceValue) -> Region {
    Region { offset: value.slot_offset, count: value.slot_count }
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
) -> Result<Entries, ReconcileError> {
    let former: BTreeMap<u64, u32> =
        observed.backends.iter().map(|(index, (identity, _))| (identity.identity, *index)).collect();
    let mut free = (0..observed.capacity.backends).filter(|index| !observed.backends.contains_key(index));
    let mut entries = BTreeMap::new();
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
            let before = observed.backends.get(&index).filter(|(owner, _)| *owner == identity);
            let entry = backend_entry(pool.mode, backend, desired, before.map(|(_, entry)| entry));
            entries.insert(identity.identity, (index, entry));
            if observed.backends.get(&index) != Some(&(identity, entry)) {
                ops.push(Op::PutBackend { index, identity, backend: entry });
            }
        }
    }
    Ok(entries)
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

/// Everything that forwarding to a backend needs. `before` is its entry as it is.
fn backend_entry(
    mode: ForwardMode,
    backend: &Backend,
    desired: &Desired<'_>,
    before: Option<&abi::Backend>,
) -> abi::Backend {
    let blank = abi::Backend {
        address: address(backend.address),
        port: backend.port.unwrap_or(0).to_be(),
        ..bytemuck::Zeroable::zeroed()
    };
    let hop = match (desired.hops.get(&backend.address), before) {
        (None, Some(before)) => return *before,
        (hop, _) => hop.copied().flatten(),
    };
    let source = tunnel_source(backend.address, hop.as_ref(), desired.model);
    let mut entry = match mode {
        // A router would send a frame for the VIP back to the node.
        ForwardMode::DsrL2 if hop.is_some_and(|hop| hop.gateway) => return blank,
        // A tunnel from no address would be dropped by the backend without a word.
        ForwardMode::DsrIpip if source.is_none() => return blank,
        ForwardMode::Nat | ForwardMode::DsrL2 | ForwardMode::DsrIpip => {
            abi::Backend { flags: BackendFlags::VALID, ..blank }
        }
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
    of_pool
        .filter_map(|(frontend, _, _)| observed.services.get(&service_key(&frontend)))
        .map(region_of)
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
    placed: &Placed,
) -> Result<BTreeMap<ServiceKey, ServiceValue>, ReconcileError> {
    let used: BTreeSet<u32> = observed.services.values().map(|value| value.index).collect();
    let mut free = (0..observed.capacity.services).filter(|index| !used.contains(index));
    let mut services = BTreeMap::new();
    for (frontend, pool_name, pool) in frontends(desired.model) {
        let key = service_key(&frontend);
        let Some(region) = placed.regions.get(pool_name) else {
            // Its turn comes in the next round; until then it stays as it is.
            services.extend(observed.services.get(&key).map(|value| (key, *value)));
            continue;
        };
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
            affinity: affinity_number(pool.affinity),
            zero: [0; 2],
        };
        services.insert(key, value);
    }
    Ok(services)
}

/// The return path of every nat frontend and backend.
fn reverse_entries(
    desired: &Desired<'_>,
    services: &BTreeMap<ServiceKey, ServiceValue>,
    entries: &Entries,
) -> BTreeMap<ReverseKey, ReverseValue> {
    let mut reverse = BTreeMap::new();
    for (frontend, pool_name, pool) in frontends(desired.model) {
        let key = service_key(&frontend);
        let Some(service) = services.get(&key) else { continue };
        if pool.mode != ForwardMode::Nat {
            continue;
        }
        for backend in &pool.backends {
            let Some((index, _)) = entries.get(&identity(pool_name, backend).identity) else { continue };
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
) -> Result<(), ReconcileError> {
    let beside = observed.reverse.keys().filter(|key| !reverse.contains_key(key)).count();
    let wanted = (reverse.len() + beside) as u64;
    let capacity = observed.capacity.reverse();
    if wanted > u64::from(capacity) {
        return Err(ReconcileError::TooMany {
            what: "pairs of a nat frontend and a backend (a change counts old and new)",
            wanted,
            capacity,
            limit: "backends (two pairs for each)",
        });
    }
    for (key, value) in reverse {
        if observed.reverse.get(key) != Some(value) {
            ops.push(Op::PutReverse(*key, *value));
        }
    }
    let entries = u32::try_from(reverse.len()).unwrap_or(u32::MAX);
    if entries > 0 && observed.settings.reverse_entries != entries {
        ops.push(Op::SetReverseEntries(entries));
    }
    Ok(())
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

/// Takes frontends away, and waits for the last reader of tables that nobody points to any more.
fn plan_removals(services: &BTreeMap<ServiceKey, ServiceValue>, observed: &Observed, ops: &mut Vec<Op>) {
    for key in observed.services.keys().filter(|key| !services.contains_key(key)) {
        ops.push(Op::DeleteService(*key));
    }
    let live: BTreeSet<Region> = services.values().map(region_of).collect();
    if observed.tables.keys().any(|region| !live.contains(region)) {
        ops.push(Op::WaitForReaders);
    }
}

/// Frees the return path and the indexes of backends that are gone, after the last reader.
fn plan_clearing(
    reverse: &BTreeMap<ReverseKey, ReverseValue>,
    entries: &Entries,
    observed: &Observed,
    ops: &mut Vec<Op>,
) {
    let waited = ops.last() == Some(&Op::WaitForReaders);
    for key in observed.reverse.keys().filter(|key| !reverse.contains_key(key)) {
        ops.push(Op::DeleteReverse(*key));
    }
    if reverse.is_empty() && observed.settings.reverse_entries != 0 {
        ops.push(Op::SetReverseEntries(0));
    }
    let gone =
        observed.backends.iter().filter(|(_, (identity, _))| !entries.contains_key(&identity.identity));
    let cleared: Vec<Op> = gone.map(|(index, _)| Op::ClearBackend(*index)).collect();
    if !cleared.is_empty() && !waited {
        ops.push(Op::WaitForReaders);
    }
    ops.extend(cleared);
}

#[cfg(test)]
mod tests;
