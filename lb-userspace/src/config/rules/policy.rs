//! What a pool does when its backends are down: possible, and never a guess about who the primary is.

use super::{mode_name, pools};
use crate::config::draft::{Draft, PoolDraft};
use crate::config::problem::{Problem, Problems, quoted};
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

fn check_min_healthy(name: &str, pool: &PoolDraft, problems: &mut Problems) {
    let Some(min_healthy) = &pool.policy.min_healthy else { return };
    let count = pool.backends.len();
    // An empty pool serves nobody whatever it says.
    if count > 0 && usize::try_from(min_healthy.value).is_ok_and(|least| least > count) {
        let message =
            format!("`min_healthy` is {}, and pool {} has {count} backends", min_healthy.value, quoted(name));
        problems.push(Problem::relation(min_healthy.span.clone(), message, format!("use at most {count}")));
    }
}

/// A pool of primaries serves one backend or nobody.
fn check_role(draft: &Draft, pool: &PoolDraft, problems: &mut Problems) {
    let check = pool.check.as_ref();
    let known = check.and_then(|check| draft.checks.get(&check.value));
    if known.is_some_and(|known| known.check.is_none()) {
        // What the check looks for is not known.
        return;
    }
    let role = known.and_then(|known| known.check.as_ref()).and_then(crate::model::Check::role);
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
    let mut refuse = |span, what: &str| {
        let message =
            format!("{what} in a pool of primaries: only the one that can be written to is ever served");
        let problem = Problem::relation(span, message, "remove it");
        problems.push(match check {
            Some(check) => problem.related(check.span.clone(), "the check with role = \"primary\""),
            None => problem,
        });
    };
    let opens = |wanted: &OnAllDown| {
        matches!(wanted, OnAllDown::FailOpen | OnAllDown::Fallback { or_open: true, .. })
    };
    if let Some(open) = policy.on_all_down.as_ref().filter(|at| opens(&at.value)) {
        refuse(open.span.clone(), "\"fail-open\"");
    }
    if let Some(panic) = policy.panic_threshold.as_ref().filter(|at| at.value > 0) {
        refuse(panic.span.clone(), "`panic_threshold`");
    }
    if let Some(least) = policy.min_healthy.as_ref().filter(|at| at.value > 1) {
        refuse(least.span.clone(), "`min_healthy` above 1");
    }
}
