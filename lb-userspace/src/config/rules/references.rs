//! Names that must exist: the check of a pool, the pool of a service.

use super::{pools, services};
use crate::config::draft::Draft;
use crate::config::problem::{Problem, Problems, quoted};
use crate::config::suggest::name_hint;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (name, pool) in pools(draft) {
        let Some(check) = pool.check.as_ref().filter(|check| !draft.checks.contains_key(&check.value)) else {
            continue;
        };
        problems.push_with(|| {
            let known = draft.checks.keys().map(String::as_str);
            let none = format!("add it: [checks.{}]", check.value.escape_debug());
            let message = format!(
                "pool {} names the check {}, which does not exist",
                quoted(name),
                quoted(&check.value)
            );
            Problem::relation(check.span.clone(), message, name_hint(&check.value, known, &none))
        });
    }
    for (name, service) in services(draft) {
        let Some(pool) = service.pool.as_ref().filter(|pool| !draft.pools.contains_key(&pool.value)) else {
            continue;
        };
        problems.push_with(|| {
            let known = draft.pools.keys().map(String::as_str);
            let none = format!("add it: [pools.{}]", pool.value.escape_debug());
            let message = format!(
                "service {} names the pool {}, which does not exist",
                quoted(name),
                quoted(&pool.value)
            );
            Problem::relation(pool.span.clone(), message, name_hint(&pool.value, known, &none))
        });
    }
}
