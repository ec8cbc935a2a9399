//! Slow start: a backend that comes back takes a small share of its weight at first.
//!
//! Role: pure; `now` is an argument. Always holds: a backend that took flows when the agent began has its whole share.

use super::{BackendName, FULL_SHARE, identity};
use crate::model::{Backend, Model, Pool};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Steps to the whole share: each costs a new slot table.
const STEPS: u32 = 16;

/// Since when backends take new flows.
#[derive(Clone, Debug, Default)]
pub struct SlowStart {
    /// By identity; none for those that did when their pool was first seen.
    since: BTreeMap<u64, Option<Instant>>,
    /// Pools that were seen before.
    pools: BTreeSet<String>,
}

impl SlowStart {
    /// Shares, out of [`FULL_SHARE`], of backends on their way to the whole. `healthy` are those that may take flows now.
    pub fn shares(
        &mut self,
        model: &Model,
        healthy: &BTreeSet<BackendName>,
        now: Instant,
    ) -> BTreeMap<BackendName, u32> {
        let mut since = BTreeMap::new();
        let mut shares = BTreeMap::new();
        for (name, pool, backend) in healthy.iter().filter_map(|name| find(model, name)) {
            let identity = identity(&name.pool, backend).identity;
            let seen = self.pools.contains(&name.pool);
            let began = *self.since.get(&identity).unwrap_or(&seen.then_some(now));
            since.insert(identity, began);
            let share = began.map_or(FULL_SHARE, |began| share(now - began, pool.slow_start));
            if share < FULL_SHARE {
                shares.insert(name.clone(), share);
            }
        }
        self.since = since;
        self.pools = model.pools.keys().cloned().collect();
        shares
    }
}

fn find<'a>(model: &'a Model, name: &'a BackendName) -> Option<(&'a BackendName, &'a Pool, &'a Backend)> {
    let pool = model.pools.get(&name.pool)?;
    let backend = pool.backends.iter().find(|backend| backend.name == name.name)?;
    Some((name, pool, backend))
}

/// The share after `age` of `whole`: in equal steps, the first one at once.
fn share(age: Duration, whole: Duration) -> u32 {
    if age >= whole {
        return FULL_SHARE;
    }
    let steps = age.as_millis() * u128::from(STEPS) / whole.as_millis().max(1);
    u32::try_from(steps).unwrap_or(STEPS).saturating_add(1).min(STEPS) * (FULL_SHARE / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_in_equal_steps_to_the_whole() {
        let whole = Duration::from_secs(32);
        let at = |seconds| share(Duration::from_secs(seconds), whole);
        assert_eq!(
            [at(0), at(1), at(2), at(16), at(30), at(31), at(32), at(99)],
            [100, 100, 200, 900, 1_600, 1_600, 1_600, 1_600]
        );
        assert_eq!(share(Duration::ZERO, Duration::ZERO), FULL_SHARE);
    }

    fn healthy(names: &[&str]) -> BTreeSet<BackendName> {
        names.iter().map(|name| BackendName { pool: "web".to_owned(), name: (*name).to_owned() }).collect()
    }

    #[test]
    fn who_comes_back_or_is_new_grows_and_who_was_there_first_does_not() {
        let file = r#"
            [node]
            interfaces = ["lo"]
            [pools.web]
            mode = "nat"
            slow_start = "16s"
            backends = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
        "#;
        let model = crate::config::parse(file, std::path::Path::new("test.toml")).unwrap().model;
        let (mut slow_start, begin) = (SlowStart::default(), Instant::now());
        let mut at = |seconds, names: &[&str]| -> Vec<(String, u32)> {
            let shares = slow_start.shares(&model, &healthy(names), begin + Duration::from_secs(seconds));
            shares.into_iter().map(|(name, share)| (name.name, share)).collect()
        };
        assert_eq!(at(0, &["a", "b"]), []);
        assert_eq!(at(1, &["a"]), []);
        assert_eq!(at(10, &["a", "b"]), [("b".to_owned(), 100)]);
        assert_eq!(at(18, &["a", "b"]), [("b".to_owned(), 900)]);
        // It goes and comes again: from the beginning.
        assert_eq!(at(19, &["a"]), []);
        assert_eq!(at(20, &["a", "b"]), [("b".to_owned(), 100)]);
        assert_eq!(at(36, &["a", "b"]), []);
    }
}
