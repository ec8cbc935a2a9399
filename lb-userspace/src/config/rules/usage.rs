//! Warnings: what is legal and probably not meant.

use std::collections::BTreeSet;

use super::{family_name, pools, served, services};
use crate::config::draft::{BackendDraft, Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};

pub(super) fn check(draft: &Draft, warnings: &mut Problems) {
    let used_pools: BTreeSet<&str> = services(draft)
        .iter()
        .filter_map(|(_, service)| Some(service.pool.as_ref()?.value.as_str()))
        .collect();
    let fallbacks: BTreeSet<&str> =
        pools(draft).iter().filter_map(|(_, pool)| Some(pool.policy.fallback()?.value)).collect();
    let used_checks: BTreeSet<&str> =
        pools(draft).iter().filter_map(|(_, pool)| Some(pool.check.as_ref()?.value.as_str())).collect();
    for (name, check) in &draft.checks {
        if !used_checks.contains(name.as_str()) {
            let message = format!("check {} is never used", quoted(name));
            let hint = format!("write check = \"{name}\" in a pool, or remove it");
            warnings.push(Problem::relation(check.name_span.clone(), message, hint));
        }
    }
    for (name, pool) in pools(draft) {
        check_dead_after(name, pool, warnings);
        check_families(draft, name, pool, warnings);
        if used_pools.contains(name) {
            check_backends(name, pool, warnings);
        } else if !fallbacks.contains(name) {
            let message = format!("pool {} is never used", quoted(name));
            let hint = format!("write pool = \"{name}\" in a service, or remove it");
            warnings.push(Problem::relation(pool.name_span.clone(), message, hint));
        }
    }
}

/// Without a check no backend is ever down, so none is ever dead.
fn check_dead_after(name: &str, pool: &PoolDraft, warnings: &mut Problems) {
    if let Some(dead_after) = pool.changes.dead_after.as_ref().filter(|_| pool.check.is_none()) {
        let message = format!(
            "pool {} has `dead_after` and no `check`: none of its backends is ever down",
            quoted(name)
        );
        warnings.push(Problem::relation(dead_after.span.clone(), message, "add a check, or remove it"));
    }
}

/// Backends of a family of which the pool serves no VIP.
fn check_families(draft: &Draft, name: &str, pool: &PoolDraft, warnings: &mut Problems) {
    if pool.mode.as_ref().is_none_or(|mode| mode.value.is_tunnel()) {
        return;
    }
    let vips =
        || served(draft).filter(|(_, _, pool, _)| *pool == name).flat_map(|(_, service, ..)| &service.vips);
    for is_ipv4 in [true, false] {
        let idle = pool.backends.iter().find_map(|backend| {
            backend.address.as_ref().filter(|address| address.value.0.is_ipv4() == is_ipv4)
        });
        let Some(idle) = idle.filter(|_| vips().next().is_some()) else { continue };
        if !vips().any(|vip| vip.value.is_ipv4() == is_ipv4) {
            let family = family_name(idle.value.0);
            let message = format!("pool {} has {family} backends and serves no {family} VIP", quoted(name));
            let hint = format!("add an {family} VIP to a service of the pool, or remove them");
            warnings.push(Problem::relation(idle.span.clone(), message, hint));
        }
    }
}

fn check_backends(name: &str, pool: &PoolDraft, warnings: &mut Problems) {
    let (what, hint) = match pool.backends.len() {
        0 => ("has no backends: its services answer nobody", "add one: lbctl backend add"),
        _ if !pool.backends.iter().any(BackendDraft::takes_flows) => {
            ("gives no backend new flows", "give a backend a weight above 0 and state = \"active\"")
        }
        1 => ("has a single backend: when it fails, nothing takes over", "add a second one"),
        _ => return,
    };
    let message = format!("pool {} {what}", quoted(name));
    warnings.push(Problem::relation(pool.name_span.clone(), message, hint));
}
