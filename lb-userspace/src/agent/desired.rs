//! From what health checks and netlink say to what a plan is made from.

use super::admission::Admissions;
use crate::dataplane::Observed;
use crate::health::{BackendId, Health, Target, TargetStatus};
use crate::model::{AdminState, Backend, Model};
use crate::netlink::{NextHop, NextHopError, NextHopTable};
use crate::reconcile::{BackendName, Hop, identities, identity};
use lb_common::abi::ip_address;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Who is checked for a backend: itself, or whom it stands for.
pub fn check_id(pool: &str, backend: &Backend) -> BackendId {
    match &backend.standby_of {
        Some(origin) => BackendId { pool: origin.pool.clone(), backend: origin.name.clone() },
        None => BackendId { pool: pool.to_owned(), backend: backend.name.clone() },
    }
}

/// Health of a backend: up without a check; else what its check says.
pub fn health_of(
    model: &Model,
    pool: &str,
    backend: &Backend,
    checked: &BTreeMap<BackendId, TargetStatus>,
) -> Health {
    let id = check_id(pool, backend);
    if model.pools.get(&id.pool).is_none_or(|pool| pool.check.is_none()) {
        return Health::Up;
    }
    checked.get(&id).map_or(Health::Unknown, |target| target.status.health)
}

/// Backends, by identity, that slots name.
pub fn in_use(observed: &Observed) -> BTreeSet<u64> {
    let serving: BTreeSet<u32> = observed.tables.values().flatten().map(|slot| slot.current()).collect();
    let backends = observed.backends.iter().filter(|(index, _)| serving.contains(index));
    backends.map(|(_, (identity, _))| identity.identity).collect()
}

/// Backends whose connections are given up: in maintenance; or down for as long as their pool says, and not served all the
/// same, if the pool has somebody who is served and could take them over. Where nobody is, nobody could take the connections
/// over, and most likely it is the check that is wrong, or the way to the servers.
pub fn dead(
    model: &Model,
    checked: &BTreeMap<BackendId, TargetStatus>,
    admitted: &Admissions,
    now: Instant,
) -> BTreeSet<BackendName> {
    let mut dead = admitted.given_up.clone();
    for (pool_name, pool) in &model.pools {
        let name_of = |backend: &Backend| BackendName::of(pool_name, backend);
        let is_served = |backend: &Backend| admitted.served.contains(&name_of(backend));
        let somebody_is_served = |backend: &Backend| {
            pool.backends
                .iter()
                .any(|other| pool.shares_table(backend.address, other.address) && is_served(other))
        };
        let down_for_long = |backend: &Backend| {
            checked.get(&check_id(pool_name, backend)).is_some_and(|target| {
                target.status.health == Health::Down
                    && now.saturating_duration_since(target.status.since) >= pool.dead_after
            })
        };
        let is_dead = |backend: &&Backend| {
            backend.state == AdminState::Maintenance
                || (down_for_long(backend) && !is_served(backend) && somebody_is_served(backend))
        };
        dead.extend(pool.backends.iter().filter(is_dead).map(name_of));
    }
    dead
}

/// Identities of backends that `next` has no more and that are down: nobody waits for their connections.
pub fn given_up(former: &Model, next: &Model, checked: &BTreeMap<BackendId, TargetStatus>) -> BTreeSet<u64> {
    let staying = identities(next);
    let down = health_by_identity(former, checked).into_iter().filter(|(_, health)| *health == Health::Down);
    down.map(|(identity, _)| identity).filter(|identity| !staying.contains(identity)).collect()
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

/// Whether the operator wants new flows to go to a backend.
pub fn takes_flows(backend: &Backend) -> bool {
    backend.state == AdminState::Active && backend.weight > 0
}

/// What has to be checked. A backend without a port is asked on the first single port of the first service that uses it and
/// has one.
/// `former` is the health by identity that the maps of an earlier agent tell; of one that is drained they tell nothing.
pub fn targets(model: &Model, former: &BTreeMap<u64, Health>) -> Vec<Target> {
    let mut targets = Vec::new();
    for (pool_name, pool) in &model.pools {
        let Some(check) = model.check_of(pool) else { continue };
        let check = Arc::new(check.clone());
        let service_port = service_port(model, pool_name);
        for backend in pool.own_backends().filter(|backend| backend.state != AdminState::Maintenance) {
            let Some(port) = check.port.or(backend.port).or(service_port) else { continue };
            targets.push(Target {
                id: check_id(pool_name, backend),
                address: SocketAddr::new(backend.address, port),
                check: check.clone(),
                initial: initial(model, former, pool_name, backend),
            });
        }
    }
    targets
}

/// What a backend's health is until the first results. Whoever had slots was up, in its own pool or where it stood in;
/// whoever had none was down, unless there is another reason for that: no service leads to its pool, or it has not the role
/// that its check looks for.
fn initial(model: &Model, former: &BTreeMap<u64, Health>, pool_name: &str, backend: &Backend) -> Health {
    if !takes_flows(backend) {
        return Health::Unknown;
    }
    let health_of = |pool: &str, backend| former.get(&identity(pool, backend).identity).copied();
    let is_its_standby = |other: &&Backend| {
        let origin = other.standby_of.as_ref();
        origin.is_some_and(|origin| origin.pool == pool_name && origin.name == backend.name)
    };
    let stood_in = model.pools.iter().any(|(name, other)| {
        let mut standbys = other.backends.iter().filter(is_its_standby);
        standbys.any(|standby| health_of(name, standby) == Some(Health::Up))
    });
    if stood_in {
        return Health::Up;
    }
    let check = model.pools.get(pool_name).and_then(|pool| model.check_of(pool));
    let has_role = check.is_some_and(|check| check.role().is_some());
    let has_table = model.services.values().any(|service| service.pool == pool_name);
    match health_of(pool_name, backend) {
        Some(Health::Down) if has_role || !has_table => Health::Unknown,
        health => health.unwrap_or(Health::Unknown),
    }
}

/// The first single port of the first service that uses the pool and has one; else of one whose pool falls back to it.
fn service_port(model: &Model, pool: &str) -> Option<u16> {
    let falls_back = |name: &str| {
        model.pools.get(name).is_some_and(|other| other.policy.on_all_down.fallback() == Some(pool))
    };
    let own = model.services.values().filter(|service| service.pool == pool);
    let others = model.services.values().filter(|service| falls_back(&service.pool));
    own.chain(others).flat_map(|service| &service.ports).find_map(|ports| ports.one())
}

/// Addresses whose next hops are followed: of the model's backends, and of those that are gone and may have flows left.
pub fn destinations(model: &Model, observed: &Observed) -> BTreeSet<IpAddr> {
    let configured =
        model.pools.values().flat_map(|pool| pool.backends.iter().map(|backend| backend.address));
    configured.chain(observed.backends.values().map(|(_, entry)| ip_address(entry.address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::admission::{Known, admit};
    use crate::agent::sample_tests as sample;
    use std::time::{Duration, Instant};

    const FILE: &str = r#"
        [node]
        interfaces = ["eth0"]
        [checks.tcp]
        kind = "tcp"
        [pools.web]
        mode = "nat"
        check = "tcp"
        backends = [
            { name = "a", address = "10.0.0.1:80" },
            { name = "b", address = "10.0.0.2:80" },
            { name = "idle", address = "10.0.0.3:80", state = "drain" },
        ]
        [pools.spare]
        mode = "nat"
        check = "tcp"
        backends = [{ name = "x", address = "10.0.9.1:80" }]
        [services.web]
        vips = ["203.0.113.10"]
        ports = [80]
        protocol = "tcp"
        pool = "web"
    "#;

    fn model() -> Model {
        sample::model(FILE)
    }

    /// What checks say of the backends of `web`.
    fn checked(healths: &[(&str, Health)]) -> BTreeMap<BackendId, TargetStatus> {
        let named: Vec<_> = healths.iter().map(|(name, health)| (format!("web/{name}"), *health)).collect();
        sample::unasked(&named)
    }

    fn dead_names(model: &Model, healths: &[(&str, Health)], after: Duration) -> Vec<String> {
        let (checked, now) = (checked(healths), Instant::now() + after);
        let admitted = admit(&Known { model, checked: &checked, in_use: &BTreeSet::new(), now });
        dead(model, &checked, &admitted, now).into_iter().map(|backend| backend.name).collect()
    }

    #[test]
    fn who_has_been_down_for_dead_after_is_dead_unless_everybody_is() {
        let (up, down) = (Health::Up, Health::Down);
        let dead_after = model().pools["web"].dead_after;
        assert!(dead_names(&model(), &[("a", up), ("b", down)], Duration::ZERO).is_empty());
        assert_eq!(dead_names(&model(), &[("a", up), ("b", down)], dead_after), ["b"]);
        assert!(dead_names(&model(), &[("a", down), ("b", down)], dead_after).is_empty());
        let mut model = model();
        model.pools.get_mut("web").unwrap().backends[1].state = AdminState::Maintenance;
        assert_eq!(dead_names(&model, &[("a", down), ("b", up)], Duration::ZERO), ["b"]);
    }

    #[test]
    fn who_is_removed_while_down_is_given_up() {
        let (former, mut next) = (model(), model());
        next.pools.get_mut("web").unwrap().backends.truncate(1);
        let identity_of_b = identity("web", &former.pools["web"].backends[1]).identity;
        let given_up = |b| given_up(&former, &next, &checked(&[("a", Health::Down), ("b", b)]));
        assert_eq!(given_up(Health::Down), BTreeSet::from([identity_of_b]));
        assert!(given_up(Health::Up).is_empty() && given_up(Health::Unknown).is_empty());
    }

    fn names(model: &Model, healths: &[(&str, Health)], in_use: &[&str]) -> Vec<String> {
        let backends = &model.pools["web"].backends;
        let used = backends.iter().filter(|backend| in_use.contains(&backend.name.as_str()));
        let used = used.map(|backend| identity("web", backend).identity).collect();
        let known = Known { model, checked: &checked(healths), in_use: &used, now: Instant::now() };
        let served = admit(&known).served.into_iter().filter(|backend| backend.pool == "web");
        served.map(|backend| backend.name).collect()
    }

    #[test]
    fn at_a_start_the_first_good_result_takes_nothing_from_those_not_yet_checked() {
        let (model, unknown, up) = (model(), Health::Unknown, Health::Up);
        assert_eq!(names(&model, &[("a", unknown), ("b", unknown)], &[]), ["a", "b"]);
        assert_eq!(names(&model, &[("a", up), ("b", unknown)], &["a", "b"]), ["a", "b"]);
        assert_eq!(names(&model, &[("a", up), ("b", Health::Down)], &["a", "b"]), ["a"]);
    }

    #[test]
    fn a_new_backend_of_a_pool_that_serves_waits_for_its_first_result() {
        assert_eq!(names(&model(), &[("a", Health::Up), ("b", Health::Unknown)], &["a"]), ["a"]);
    }

    #[test]
    fn a_drained_backend_has_no_former_health() {
        let model = model();
        let backends = &model.pools["web"].backends;
        let former =
            backends.iter().map(|backend| (identity("web", backend).identity, Health::Down)).collect();
        let initial: Vec<Health> =
            targets(&model, &former).into_iter().map(|target| target.initial).collect();
        assert_eq!(initial, [Health::Unknown, Health::Down, Health::Down, Health::Unknown], "spare's first");
    }

    #[test]
    fn who_stood_in_was_up_and_a_pool_without_a_service_tells_nothing() {
        let file = FILE.replace("[pools.web]", "[pools.web]\non_all_down = \"fallback:spare\"");
        let model = sample::model(&file);
        let standby = model.pools["web"].backends.last().unwrap();
        assert_eq!(standby.name, "spare/x");
        let own = identity("spare", &model.pools["spare"].backends[0]).identity;
        let initial = |stood_in| {
            let former = [(own, Health::Down), (identity("web", standby).identity, stood_in)].into();
            let targets = targets(&model, &former);
            targets.iter().find(|target| target.id.pool == "spare").unwrap().initial
        };
        assert_eq!(initial(Health::Up), Health::Up, "slots of the other pool named it");
        assert_eq!(initial(Health::Down), Health::Unknown, "it has no slots of its own in any case");
    }
}
