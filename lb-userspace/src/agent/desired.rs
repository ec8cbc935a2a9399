//! From what health checks and netlink say to what a plan is made from.

use crate::health::{BackendId, Health, Target, TargetStatus};
use crate::model::{AdminState, Backend, Model};
use crate::netlink::{NextHop, NextHopError, NextHopTable};
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

/// Backends that may take new flows: those that are up, and those not yet checked, because unknown is not down. Of
/// these the ones in `waiting` have to wait for their first good result, as long as there is anybody else.
pub fn healthy(
    model: &Model,
    checked: &BTreeMap<BackendId, TargetStatus>,
    waiting: &BTreeSet<BackendName>,
) -> BTreeSet<BackendName> {
    let mut healthy = BTreeSet::new();
    for (pool_name, pool) in &model.pools {
        let candidates = pool.backends.iter().filter(|backend| {
            backend.state == AdminState::Active
                && backend.weight > 0
                && health_of(model, pool_name, backend, checked) != Health::Down
        });
        let (ready, held): (Vec<BackendName>, Vec<BackendName>) = candidates
            .map(|backend| BackendName { pool: pool_name.clone(), name: backend.name.clone() })
            .partition(|name| !is_waiting(model, name, checked, waiting));
        healthy.extend(if ready.is_empty() { held } else { ready });
    }
    healthy
}

fn is_waiting(
    model: &Model,
    name: &BackendName,
    checked: &BTreeMap<BackendId, TargetStatus>,
    waiting: &BTreeSet<BackendName>,
) -> bool {
    let unchecked = |status: &TargetStatus| status.status.health == Health::Unknown;
    let id = BackendId { pool: name.pool.clone(), backend: name.name.clone() };
    let has_check = model.pools.get(&name.pool).is_some_and(|pool| pool.check.is_some());
    has_check && waiting.contains(name) && checked.get(&id).is_none_or(unchecked)
}

/// Backends of `model` that have to wait for their first good result: new ones of pools that had somebody up.
pub fn waiting(
    former: &Model,
    model: &Model,
    checked: &BTreeMap<BackendId, TargetStatus>,
    before: &BTreeSet<BackendName>,
) -> BTreeSet<BackendName> {
    let mut waiting = BTreeSet::new();
    for (pool_name, pool) in &model.pools {
        let Some(known) = former.pools.get(pool_name) else { continue };
        let up = |backend: &Backend| health_of(former, pool_name, backend, checked) == Health::Up;
        let serves = known.backends.iter().any(up);
        for backend in &pool.backends {
            let name = BackendName { pool: pool_name.clone(), name: backend.name.clone() };
            let new =
                known.backends.iter().all(|other| identity(pool_name, other) != identity(pool_name, backend));
            if (new && serves) || before.contains(&name) {
                waiting.insert(name);
            }
        }
    }
    waiting
}

/// The health of every backend by identity, to go on from.
pub fn health_by_identity(
    model: &Model,
    checked: &BTreeMap<BackendId, TargetStatus>,
) -> BTreeMap<u64, Health> {
    let backends = model
        .pools
        .iter()
        .flat_map(|(pool, value)| value.backends.iter().map(move |backend| (pool, backend)));
    backends
        .map(|(pool, backend)| (identity(pool, backend).identity, health_of(model, pool, backend, checked)))
        .collect()
}

/// The ways as far as they were looked up.
pub fn hops(table: &NextHopTable) -> BTreeMap<IpAddr, Option<Hop>> {
    let hop = |hop: &NextHop| Hop {
        ifindex: hop.ifindex,
        source_mac: hop.source_mac,
        destination_mac: hop.destination_mac,
        mtu_bytes: hop.mtu,
        preferred_source: hop.preferred_source,
        gateway: hop.gateway.is_some(),
    };
    let known = table.iter().filter_map(|(address, result)| match result {
        Ok(found) => Some((*address, Some(hop(found)))),
        // The kernel was not in a state to answer: that says nothing of the way.
        Err(NextHopError::Netlink(_)) => None,
        Err(_) => Some((*address, None)),
    });
    known.collect()
}

/// What has to be checked. A backend without a port is asked on the first port of the first service that uses it.
pub fn targets(model: &Model, initial: &BTreeMap<u64, Health>) -> Vec<Target> {
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
                initial: initial
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
