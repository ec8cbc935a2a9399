//! Backends that this node cannot ask: they keep their state whatever becomes of them, so somebody has to know.

use crate::health::machine::Event;
use crate::health::{BackendId, TargetStatus};
use crate::model::Model;
use std::collections::BTreeMap;

/// A sentence for each check that could not ask somebody for as many times in a row as would have taken a backend down.
pub fn unasked(model: &Model, checked: &BTreeMap<BackendId, TargetStatus>) -> Vec<String> {
    let mut found: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for (id, target) in checked {
        let check_name = model.pools.get(&id.pool).and_then(|pool| pool.check.as_deref());
        let Some((name, check)) = check_name.and_then(|name| model.checks.get_key_value(name)) else {
            continue;
        };
        let status = &target.status;
        let Some(Event::Inconclusive(error)) = status.last_result.as_ref().map(|result| &result.event) else {
            continue;
        };
        if status.inconclusive_in_a_row >= check.fall {
            found.entry(name).or_insert_with(|| (0, error.to_string())).0 += 1;
        }
    }
    let sentence = |(check, (count, error)): (&str, (usize, String))| {
        format!(
            "check {check} cannot be made for {count} of its backends, which keep the state that they have, dead or alive: \
             {error}"
        )
    };
    found.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::sample_tests as sample;
    use crate::health::Health;
    use crate::health::machine::Machine;
    use crate::health::probe::ProbeError;
    use std::time::Instant;

    #[test]
    fn who_cannot_be_asked_for_long_is_told_of() {
        let file = r#"
            [node]
            interfaces = ["eth0"]
            [checks.web]
            kind = "tcp"
            fall = 2
            [pools.web]
            mode = "nat"
            check = "web"
            backends = [{ name = "a", address = "10.0.0.1:80" }]
        "#;
        let model = sample::model(file);
        let (address, now) = ("10.0.0.1:80".parse().unwrap(), Instant::now());
        let mut machine = Machine::new(1, 2, Health::Up, now);
        let mut told = || {
            let error = ProbeError::NotAsked { address, detail: "no source".to_owned() };
            machine.on_event(Event::Inconclusive(error), now);
            unasked(&model, &[(sample::id("web/a"), sample::target(&machine))].into())
        };
        assert!(told().is_empty(), "once is nothing");
        let told = told();
        assert!(told[0].starts_with("check web cannot be made for 1 of its backends"), "{told:?}");
        assert!(told[0].ends_with("10.0.0.1:80 was not asked: no source"), "{told:?}");
    }
}
