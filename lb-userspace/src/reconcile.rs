//! Desired state against what is in the maps: the operations that make the second the first.
//!
//! Role: pure; no clock, no IO. Imports model, the dataplane's types and lb-common. Always holds: applying the plan
//! and planning again gives an empty plan; every prefix of a plan leaves maps that forward (a frontend goes live only
//! after its table, backends and return path are there; what is taken away goes last, after the last reader and the last
//! flow).

use crate::dataplane::{Observed, Op};
use crate::model::{Affinity, Backend, ForwardMode, Frontend, Model, Pool};
use clearing::Leftovers;
use lb_common::abi;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

mod backends;
mod clearing;
mod frontends;
mod keys;
mod links;
mod reverse;
mod slow_start;
mod snat;
mod table_key;
mod tables;

pub use backends::{identities, identity};
#[cfg(test)]
pub(crate) use keys::{frontend_ops, service_of};
pub use keys::{lookup_address, network_prefix, protocol_number, service_key, value_of};
pub use slow_start::SlowStart;
pub use table_key::{Families, TableKey};

/// A backend's name: pool and name within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub name: String,
}

impl BackendName {
    /// The name of a backend of a pool.
    pub fn of(pool: &str, backend: &Backend) -> Self {
        Self { pool: pool.to_owned(), name: backend.name.clone() }
    }
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
    /// Addresses that sessions send from although the configuration does not name them any more.
    pub kept_sources: &'a BTreeSet<abi::Address>,
}

/// The whole share of a backend's weight: fine enough for percents of the steps of a slow start.
pub const FULL_SHARE: u32 = 1_600;

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// Slots that begin to learn, by table, counted from its start: whoever carries the plan out starts their clocks after
    /// it.
    pub learning: BTreeMap<TableKey, Vec<u32>>,
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
        "no {count} slots in a row are free for the new table of pool {table}; raise node.limits.slots ({capacity}), \
         run `lbd remove` and start again"
    )]
    NoRoom {
        /// The table.
        table: TableKey,
        /// Slots of its table.
        count: u32,
        /// Slots in all.
        capacity: u32,
    },
    /// No run of free entries is long enough for the addresses that a pool sends from.
    #[error(
        "no {count} entries in a row are free for the addresses that pool {pool} sends from; those of former ones become \
         free when their connections have ended; or list fewer in `snat`"
    )]
    NoSnatRun {
        /// The pool.
        pool: String,
        /// How many addresses it has.
        count: usize,
    },
}

const fn mode_number(mode: ForwardMode) -> u8 {
    (match mode {
        ForwardMode::Nat => abi::ForwardMode::Nat,
        ForwardMode::DsrL2 => abi::ForwardMode::DsrL2,
        ForwardMode::DsrIpip => abi::ForwardMode::DsrIpip,
        ForwardMode::DsrGue => abi::ForwardMode::DsrGue,
        ForwardMode::FullNat => abi::ForwardMode::FullNat,
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
        let snat = snat::plan_snat(desired, observed, &mut ops)?;
        let entries = backends::plan_backends(desired, observed, &snat, &mut ops)?;
        clearing::plan_ways(desired, &entries, observed, &mut ops);
        let placed = tables::plan_tables(&mut self.builder, desired, observed, &entries, &mut ops)?;
        // As long as somebody may send from an address, replies to it are looked for.
        let sources = clearing::snat_left(&snat, &entries, observed);
        let sources = sources.values().chain(desired.kept_sources).copied();
        let planned = frontends::plan_frontends(desired, observed, &placed, sources)?;
        let reverse = reverse::plan_reverse(desired, &planned, &entries);
        planned.plan_announcing(planned.lookups | reverse.lookups(), observed, &mut ops);
        reverse.plan_additions(observed, &mut ops)?;
        planned.plan_switch(observed, &mut ops);
        planned.plan_removals(observed, &mut ops);
        links::plan_removals(desired, observed, &entries, &mut ops);
        if placed.complete {
            let leftovers = Leftovers {
                desired,
                observed,
                entries: &entries,
                placed: &placed,
                frontends: &planned,
                reverse: &reverse,
            };
            let lookups = leftovers.plan(&snat, &mut ops);
            planned.plan_ending(planned.lookups | lookups, observed, &mut ops);
        }
        let learning = placed.learning.iter().map(|(table, slots)| (table.owned(), slots.clone()));
        Ok(Plan { ops, learning: learning.collect(), complete: placed.complete })
    }
}

/// A frontend with the pool that serves it.
struct Served<'a> {
    frontend: Frontend,
    pool_name: &'a str,
    pool: &'a Pool,
}

impl<'a> Served<'a> {
    /// The table that it points to.
    const fn table(&self) -> TableKey<&'a str> {
        TableKey { pool: self.pool_name, families: Families::of(self.pool, self.frontend.vip) }
    }
}

/// Tables that a frontend points to, with their pools.
fn used_tables(model: &Model) -> BTreeMap<TableKey<&str>, &Pool> {
    let mut used = BTreeMap::new();
    for service in model.services.values() {
        let Some((name, pool)) = model.pools.get_key_value(&service.pool) else { continue };
        for vip in &service.vips {
            used.insert(TableKey { pool: name.as_str(), families: Families::of(pool, *vip) }, pool);
        }
    }
    used
}

/// Frontends with the pools that serve them.
fn frontends(model: &Model) -> impl Iterator<Item = Served<'_>> {
    model.services.values().flat_map(|service| {
        let pool = model.pools.get_key_value(&service.pool);
        service.frontends().filter_map(move |frontend| {
            let (name, pool) = pool?;
            Some(Served { frontend, pool_name: name.as_str(), pool })
        })
    })
}

#[cfg(test)]
mod tests;
