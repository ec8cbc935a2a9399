//! Warnings: what is legal and probably not meant.

use std::collections::BTreeSet;

use super::{pools, services};
use crate::config::draft::{BackendDraft, Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};

pub(super) fn check(draft: &Draft, warnings: &mut Problems) {
    let used_pools: BTreeSet<&str> = services(draft)
        .iter()
        .filter_map(|(_, service)| Some(service.pool.as_ref()?.value.as_str()))
        .collect();
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
        if used_pools.contains(name) {
            check_backends(name, pool, warnings);
        } else {
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
