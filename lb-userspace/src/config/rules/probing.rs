//! Health checks need a port to ask at, and an address to ask from that can reach it.

use std::net::IpAddr;

use super::{family_name, pools, services};
use crate::config::draft::{Draft, PoolDraft, ServiceDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::At;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    check_ports(draft, problems);
    check_sources(draft, problems);
}

/// From an address of one family nobody of the other can be asked.
fn check_sources(draft: &Draft, problems: &mut Problems) {
    for (_, pool) in pools(draft) {
        let check = pool.check.as_ref().and_then(|check| draft.checks.get(&check.value));
        let Some(source) = check.and_then(|check| check.source.as_ref()) else { continue };
        let addresses = pool.backends.iter().filter_map(|backend| Some((backend, backend.address.as_ref()?)));
        let other =
            |(_, address): &(_, &At<(IpAddr, _)>)| address.value.0.is_ipv4() != source.value.is_ipv4();
        let Some((backend, address)) = addresses.into_iter().find(other) else { continue };
        let message = format!(
            "{} has an {} address and is checked from the {} address {}",
            backend.shown(),
            family_name(address.value.0),
            family_name(source.value),
            source.value
        );
        let hint = "give each family a pool and a check of its own, or leave `source` out";
        let problem = Problem::relation(address.span.clone(), message, hint);
        problems.push(problem.related(source.span.clone(), "the source"));
    }
}

fn check_ports(draft: &Draft, problems: &mut Problems) {
    for (name, pool) in pools(draft) {
        let Some(check) = &pool.check else { continue };
        let has_port = |check: &crate::model::Check| check.port.is_some();
        let known = draft.checks.get(&check.value).and_then(|check| check.check.as_ref());
        if known.is_none_or(has_port) || !lacks_port(pool) {
            continue;
        }
        let falls_back = |pool: &str| {
            let other = draft.pools.get(pool).and_then(|other| other.policy.fallback());
            other.is_some_and(|fallback| fallback.value == name)
        };
        let of_pool = |service: &ServiceDraft| {
            service.pool.as_ref().is_some_and(|pool| pool.value == name || falls_back(&pool.value))
        };
        let users: Vec<_> = services(draft).into_iter().filter(|(_, service)| of_pool(service)).collect();
        let ports = users.iter().flat_map(|(_, service)| &service.ports);
        // A service whose ports could not be read may have one.
        let may_have_one = users.iter().any(|(_, service)| service.ports.is_empty());
        if users.is_empty() || may_have_one || ports.clone().any(|ports| ports.value.one().is_some()) {
            continue;
        }
        let message = format!(
            "the check {} does not know at which port to ask the backends of pool {}: no service of it listens on a \
             single port",
            quoted(&check.value),
            quoted(name)
        );
        let hint = "write the port in the check (port = 80) or in the backends' addresses";
        problems.push(Problem::relation(check.span.clone(), message, hint));
    }
}

/// Whether a backend has no port of its own.
fn lacks_port(pool: &PoolDraft) -> bool {
    let changes_ports = pool.mode.as_ref().is_none_or(|mode| mode.value.changes_ports());
    pool.backends
        .iter()
        .filter_map(|backend| backend.address.as_ref())
        .any(|address| address.value.1.is_none() || !changes_ports)
}
