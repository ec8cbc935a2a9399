//! What a pool does when its backends are down: possible, and never a guess about who the primary is.

use std::collections::BTreeSet;

use super::{mode_name, pools};
use crate::config::draft::{Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::source::At;
use crate::config::suggest::name_hint;
use crate::model::{OnAllDown, Role};

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (name, pool) in pools(draft) {
        check_fallback(draft, name, pool, problems);
        check_min_healthy(name, pool, problems);
        check_role(draft, pool, problems);
    }
}

fn check_fallback(draft: &Draft, name: &str, pool: &PoolDraft, problems: &mut Problems) {
    let Some(fallback) = pool.policy.fallback() else { return };
    if fallback.value == name {
        let message = format!("pool {} falls back to itself", quoted(name));
        problems.push(Problem::relation(fallback.span, message, "name another pool, or write \"drop\""));
        return;
    }
    let Some(other) = draft.pools.get(fallback.value) else {
        let known = draft.pools.keys().map(String::as_str).filter(|known| *known != name);
        let none = format!("add it: [pools.{}]", fallback.value.escape_debug());
        let message = format!(
            "pool {} falls back to the pool {}, which does not exist",
            quoted(name),
            quoted(fallback.value)
        );
        problems.push(Problem::relation(fallback.span, message, name_hint(fallback.value, known, &none)));
        return;
    };
    check_fallback_families(name, pool, &fallback, other, problems);
    let (Some(mode), Some(other_mode)) = (&pool.mode, &other.mode) else { return };
    if mode.value != other_mode.value {
        let message = format!(
            "pool {} of mode \"{}\" falls back to pool {} of mode \"{}\"",
            quoted(name),
            mode_name(mode.value),
            quoted(fallback.value),
            mode_name(other_mode.value)
        );
        let problem = Problem::relation(fallback.span, message, "give both pools one mode");
        problems.push(problem.related(other_mode.span.clone(), "the other mode"));
    }
}

/// Who is asked for IPv6 cannot fall back to IPv4, unless in a tunnel.
fn check_fallback_families(
    name: &str,
    pool: &PoolDraft,
    fallback: &At<&str>,
    other: &PoolDraft,
    problems: &mut Problems,
) {
    if pool.mode.as_ref().is_none_or(|mode| mode.value.is_tunnel()) {
        return;
    }
    for family in families(pool) {
        if !other.backends.is_empty() && !families(other).contains(&family) {
            let family = if family { "IPv4" } else { "IPv6" };
            let message = format!(
                "pool {} has {family} backends and falls back to pool {}, which has none",
                quoted(name),
                quoted(fallback.value)
            );
            let hint = format!("give that pool a backend with an {family} address");
            problems.push(Problem::relation(fallback.span.clone(), message, hint));
        }
    }
}

/// Whether IPv4 and whether IPv6 is among the backends' addresses: true and false.
fn families(pool: &PoolDraft) -> BTreeSet<bool> {
    let addresses = pool.backends.iter().filter_map(|backend| backend.address.as_ref());
    addresses.map(|address| address.value.0.is_ipv4()).collect()
}

/// Fewest backends that share a table: those of the rarer family, unless in tunnels.
fn fewest(pool: &PoolDraft) -> usize {
    if pool.mode.as_ref().is_none_or(|mode| mode.value.is_tunnel()) {
        return pool.backends.len();
    }
    let of = |is_ipv4: bool| {
        let addresses = pool.backends.iter().filter_map(|backend| backend.address.as_ref());
        addresses.filter(|address| address.value.0.is_ipv4() == is_ipv4).count()
    };
    [of(true), of(false)].into_iter().filter(|count| *count > 0).min().unwrap_or(0)
}

fn check_min_healthy(name: &str, pool: &PoolDraft, problems: &mut Problems) {
    let Some(min_healthy) = &pool.policy.min_healthy else { return };
    let count = fewest(pool);
    // An empty pool serves nobody whatever it says.
    if count > 0 && usize::try_from(min_healthy.value).is_ok_and(|least| least > count) {
        let plural = if count == 1 { "" } else { "s" };
        let of = if count < pool.backends.len() { " of one family" } else { "" };
        let message = format!(
            "`min_healthy` is {}, and pool {} has {count} backend{plural}{of}",
            min_healthy.value,
            quoted(name)
        );
        problems.push(Problem::relation(min_healthy.span.clone(), message, format!("use at most {count}")));
    }
}

/// The role that a pool's check looks for; none if the check could not be read.
#[expect(clippy::option_option, reason = "not known, and none, are two things")]
fn role_of(draft: &Draft, pool: &PoolDraft) -> Option<Option<Role>> {
    let known = pool.check.as_ref().and_then(|check| draft.checks.get(&check.value));
    match known {
        Some(known) => known.check.as_ref().map(crate::model::Check::role),
        None => Some(None),
    }
}

/// A pool of primaries serves one backend or nobody.
fn check_role(draft: &Draft, pool: &PoolDraft, problems: &mut Problems) {
    let check = pool.check.as_ref();
    let Some(role) = role_of(draft, pool) else { return };
    let policy = &pool.policy;
    if role != Some(Role::Primary) {
        if let Some(change) = &policy.on_role_change {
            let message =
                "`on_role_change` has no meaning here: the pool's check does not look for a primary";
            let hint = "remove it, or name a check of kind \"mysql\" with role = \"primary\"";
            problems.push(Problem::relation(change.span.clone(), message, hint));
        }
        return;
    }
    let mut refuse = |span, what: &str, hint: &str| {
        let message =
            format!("{what} in a pool of primaries: only the one that can be written to is ever served");
        let problem = Problem::relation(span, message, hint);
        problems.push(match check {
            Some(check) => problem.related(check.span.clone(), "the check with role = \"primary\""),
            None => problem,
        });
    };
    let opens = |wanted: &OnAllDown| {
        matches!(wanted, OnAllDown::FailOpen | OnAllDown::Fallback { or_open: true, .. })
    };
    if let Some(open) = policy.on_all_down.as_ref().filter(|at| opens(&at.value)) {
        refuse(open.span.clone(), "\"fail-open\"", "remove it");
    }
    let other =
        policy.fallback().and_then(|fallback| Some((draft.pools.get(fallback.value)?, fallback.span)));
    if let Some((other, span)) = other
        && role_of(draft, other).is_some_and(|role| role != Some(Role::Primary))
    {
        refuse(
            span,
            "a fallback to a pool whose check does not look for a primary,",
            "name a pool whose check does",
        );
    }
    if pool.mode.as_ref().is_some_and(|mode| !mode.value.is_tunnel()) && families(pool).len() > 1 {
        let hint = "keep the backends of one family";
        refuse(pool.name_span.clone(), "backends of both families, which are judged apart,", hint);
    }
    if let Some(panic) = policy.panic_threshold.as_ref().filter(|at| at.value > 0) {
        refuse(panic.span.clone(), "`panic_threshold`", "remove it");
    }
    if let Some(least) = policy.min_healthy.as_ref().filter(|at| at.value > 1) {
        refuse(least.span.clone(), "`min_healthy` above 1", "remove it");
    }
}
