//! Desired state against what is in the maps: the operations that make the second the first.
//!
//! Role: pure; no clock, no IO. Imports model, the dataplane's types and lb-common. Always holds: applying the plan
//! and planning again gives an empty plan; every prefix of a plan leaves maps that forward (a frontend goes live only
//! after its table, backends and return path are there; what is taken away goes last, after the last reader and the last
//! flow).

use crate::dataplane::{Observed, Op, Region};
use crate::model::{Affinity, ForwardMode, Frontend, Model, Pool, Protocol};
use clearing::Leftovers;
use lb_common::abi::{self, ServiceKey, ServiceValue, address};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tables::Placed;

mod backends;
mod clearing;
mod links;
mod reverse;
mod slow_start;
mod tables;

pub use backends::{identities, identity};
pub use slow_start::SlowStart;

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
    /// VLAN interfaces that frames may leave by, with port and tags.
    pub links: &'a BTreeMap<u32, abi::Link>,
    /// Shares of their weight, out of [`FULL_SHARE`], of backends that are starting slowly; all others have it whole.
    pub shares: &'a BTreeMap<BackendName, u32>,
    /// Backends whose connections are given up.
    pub dead: &'a BTreeSet<BackendName>,
    /// Identities of backends that were down when the configuration let go of them: their connections are given up too.
    pub given_up: &'a BTreeSet<u64>,
    /// Indexes of backends that remembered flows lead to, as just counted; none if they were not counted, and then no
    /// index is freed.
    pub flows_of: Option<&'a BTreeSet<u32>>,
}

/// The whole share of a backend's weight.
pub const FULL_SHARE: u32 = 16;

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// Slots that begin to learn, by pool, counted from the start of its table: whoever carries the plan out starts
    /// their clocks after it.
    pub learning: BTreeMap<String, Vec<u32>>,
    /// Whether they lead all the way. If not, there was no room for every new table beside the old ones: carry them
    /// out, look again and plan again.
    pub complete: bool,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// More backends than the map holds.
    #[error(
        "{configured} backends, and {gone} that were removed and may still have connections, do not fit into the \
         {capacity} of node.limits.backends; the removed ones go when their connections have ended; or raise the limit, \
         run `lbd remove` (which stops forwarding) and start again"
    )]
    TooManyBackends {
        /// Backends of the configuration.
        configured: u64,
        /// Backends that it has no more.
        gone: u64,
        /// How many fit.
        capacity: u32,
    },
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

/// Makes plans, and remembers the tables that it worked out.
#[derive(Default)]
pub struct Reconciler {
    builder: tables::Builder,
}

impl Reconciler {
    /// The operations that lead from `observed` to `desired`.
    ///
    /// # Errors
    /// When it does not fit into the maps.
    pub fn plan(&mut self, desired: &Desired<'_>, observed: &Observed) -> Result<Plan, ReconcileError> {
        let mut ops = Vec::new();
        ops.extend(desired.devices.difference(&observed.devices).map(|ifindex| Op::PutDevice(*ifindex)));
        links::plan_additions(desired, observed, &mut ops);
        let entries = backends::plan_backends(desired, observed, &mut ops)?;
        clearing::plan_ways(desired, &entries, observed, &mut ops);
        let placed = tables::plan_tables(&mut self.builder, desired, observed, &entries, &mut ops)?;
        let services = plan_services(desired, observed, &placed)?;
        let reverse = reverse::reverse_entries(desired, &services, &entries);
        reverse::plan_reverse_additions(&reverse, observed, &mut ops)?;
        plan_switch(&services, observed, &mut ops);
        plan_removals(&services, observed, &mut ops);
        links::plan_removals(desired, observed, &entries, &mut ops);
        if placed.complete {
            let leftovers =
                Leftovers { desired, observed, entries: &entries, placed: &placed, services: &services };
            leftovers.plan(&reverse, &mut ops);
        }
        Ok(Plan { ops, learning: placed.learning, complete: placed.complete })
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
        let Some(region) = placed.tables.get(pool_name).map(|table| table.region) else {
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
    let live: BTreeSet<Region> = services.values().map(Region::of).collect();
    if observed.tables.keys().any(|region| !live.contains(region)) {
        ops.push(Op::WaitForReaders);
    }
}

#[cfg(test)]
mod tests;
