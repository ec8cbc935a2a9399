//! Whether taking a backend out would leave nobody of its pool to serve.
//!
//! Always holds: the answer is that of the policy itself, asked about the configuration as it would be.

use super::admission::{Known, admit};
use crate::health::BackendId;
use crate::model::{AdminState, Backend};
use crate::reconcile::BackendName;

/// Whether the pool serves somebody of its own now, and would not with this backend in `wanted`.
pub fn is_last(known: &Known<'_>, id: &BackendId, wanted: AdminState) -> bool {
    let mut edited = known.model.clone();
    let pool = edited.pools.get_mut(&id.pool);
    let backend = pool.and_then(|pool| pool.backends.iter_mut().find(|backend| backend.name == id.backend));
    let Some(backend) = backend else { return false };
    backend.state = wanted;
    let backend = backend.clone();
    let after = Known { model: &edited, checked: known.checked, in_use: known.in_use, now: known.now };
    serves_own(known, id, &backend) && !serves_own(&after, id, &backend)
}

/// Whether somebody of the pool's own is served who shares a table with `backend`.
fn serves_own(known: &Known<'_>, id: &BackendId, backend: &Backend) -> bool {
    let served = admit(known).served;
    let Some(pool) = known.model.pools.get(&id.pool) else { return false };
    let mut companions =
        pool.own_backends().filter(|other| pool.shares_table(backend.address, other.address));
    companions.any(|other| served.contains(&BackendName::of(&id.pool, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sample_tests as sample;
    use crate::health::Health;
    use crate::model::Model;
    use std::collections::BTreeSet;
    use std::time::Instant;

    const FILE: &str = r#"
        [node]
        interfaces = ["eth0"]
        [checks.tcp]
        kind = "tcp"
        [pools.web]
        mode = "nat"
        check = "tcp"
        on_all_down = "fallback:spare"
        backends = [
            { name = "a", address = "10.0.0.1:80" },
            { name = "b", address = "10.0.0.2:80" },
            { name = "six", address = "[fd00::1]:80" },
        ]
        [pools.spare]
        mode = "nat"
        check = "tcp"
        backends = [{ name = "x", address = "10.0.9.1:80" }, { name = "y", address = "[fd00::9]:80" }]
        [pools.two]
        mode = "nat"
        min_healthy = 2
        backends = [{ name = "a", address = "10.0.1.1:80" }, { name = "b", address = "10.0.1.2:80" }]
    "#;

    fn refused(pool: &str, name: &str, b: Health, edit: impl FnOnce(&mut Model)) -> bool {
        let mut model = sample::model(FILE);
        edit(&mut model);
        let up = Health::Up;
        let checked = sample::unasked(&[
            ("web/a", up),
            ("web/b", b),
            ("web/six", up),
            ("spare/x", up),
            ("spare/y", up),
        ]);
        let in_use = BTreeSet::new();
        let known = Known { model: &model, checked: &checked, in_use: &in_use, now: Instant::now() };
        is_last(&known, &sample::id(&format!("{pool}/{name}")), AdminState::Drain)
    }

    #[test]
    fn the_last_own_backend_of_a_family_is_not_drained_by_the_way() {
        assert!(!refused("web", "a", Health::Up, |_| {}), "b goes on");
        assert!(refused("web", "a", Health::Down, |_| {}), "only a standby would be left");
        assert!(refused("web", "six", Health::Up, |_| {}), "the only one of its family");
        assert!(!refused("web", "b", Health::Down, |_| {}), "who serves nobody can go");
        assert!(refused("two", "a", Health::Up, |_| {}), "one is less than min_healthy");
        let drained =
            |model: &mut Model| model.pools.get_mut("web").unwrap().backends[1].state = AdminState::Drain;
        assert!(refused("web", "a", Health::Up, drained), "b is drained");
        let idle = |model: &mut Model| model.pools.get_mut("web").unwrap().backends[1].weight = 0;
        assert!(refused("web", "a", Health::Up, idle), "b takes no new flows");
    }
}
