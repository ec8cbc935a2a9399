//! From what health checks and netlink say to what a plan is made from.

use crate::health::{BackendId, Health, Target, TargetStatus};
use crate::model::{AdminState, Backend, Model};
use crate::netlink::NextHopTable;
use crate::reconcile::{BackendName, Hop, identity};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Health of a backend: up without a check; else what its check says.
pub fn health_of(
    model: &Model,
    pool: &str,
    backend: &Backend,
    checked: &BTreeMap<BackendId, TargetStatus>,
) -> Health {
    if model.pools.get(pool).is_none_or(|pool| pool.check.is_none()) {
        return Health::Up;
    }
    let id = BackendId { pool: pool.to_owned(), backend: backend.name.clone() };
    checked.get(&id).map_or(Health::Unknown, |target| target.status.health)
}

/// Backends that may take new flows. In a pool where none is known to be up, those not yet checked may: unknown is
/// not down.
pub fn healthy(model: &Model, checked: &BTreeMap<BackendId, TargetStatus>) -> BTreeSet<BackendName> {
    let mut healthy = BTreeSet::new();
    for (pool_name, pool) in &model.pools {
        let of = |wanted: Health| {
            let takes = |backend: &&Backend| {
                backend.state == AdminState::Active
                    && backend.weight > 0
                    && health_of(model, pool_name, backend, checked) == wanted
            };
            let name =
                |backend: &Backend| BackendName { pool: pool_name.clone(), name: backend.name.clone() };
            pool.backends.iter().filter(takes).map(name).collect::<Vec<_>>()
        };
        let up = of(Health::Up);
        healthy.extend(if up.is_empty() { of(Health::Unknown) } else { up });
    }
    healthy
}

/// The ways that are known.
pub fn hops(table: &NextHopTable) -> BTreeMap<IpAddr, Hop> {
    let known = table.iter().filter_map(|(address, hop)| Some((*address, hop.as_ref().ok()?)));
    known
        .map(|(address, hop)| {
            let hop = Hop {
                ifindex: hop.ifindex,
                source_mac: hop.source_mac,
                destination_mac: hop.destination_mac,
                mtu_bytes: hop.mtu,
                preferred_source: hop.preferred_source,
            };
            (address, hop)
        })
        .collect()
}

/// What has to be checked. A backend without a port is asked on the first port of the first service that uses it.
pub fn targets(model: &Model, former: &BTreeMap<u64, Health>) -> Vec<Target> {
    let mut targets = Vec::new();
    for (pool_name, pool) in &model.pools {
        let Some(check) = pool.check.as_ref().and_then(|name| model.checks.get(name)) else { continue };
        let check = Arc::new(check.clone());
        let service = model.services.values().find(|service| service.pool == *pool_name);
        let service_port = service.and_then(|service| service.ports.first().copied());
        for backend in &pool.backends {
            let Some(port) = check.port.or(backend.port).or(service_port) else { continue };
            targets.push(Target {
                id: BackendId { pool: pool_name.clone(), backend: backend.name.clone() },
                address: SocketAddr::new(backend.address, port),
                check: check.clone(),
                initial: former
                    .get(&identity(pool_name, backend).identity)
                    .copied()
                    .unwrap_or(Health::Unknown),
            });
        }
    }
    targets
}

/// Addresses whose next hops are followed.
pub fn destinations(model: &Model) -> BTreeSet<IpAddr> {
    model.pools.values().flat_map(|pool| pool.backends.iter().map(|backend| backend.address)).collect()
}
