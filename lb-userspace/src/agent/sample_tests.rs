//! What the agent's tests begin with: a configuration, and what checks say of its backends.

use crate::health::machine::{Event, Machine};
use crate::health::{Answer, BackendId, Findings, Health, TargetStatus};
use crate::model::Model;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The model of a text, which is valid.
pub fn model(text: &str) -> Model {
    crate::config::parse(text, Path::new("test.toml")).unwrap_or_else(|errors| panic!("{errors}")).model
}

/// `POOL/NAME`.
pub fn id(text: &str) -> BackendId {
    let (pool, backend) = text.split_once('/').unwrap();
    BackendId { pool: pool.to_owned(), backend: backend.to_owned() }
}

/// What is known of the target of a machine.
pub fn target(machine: &Machine) -> TargetStatus {
    TargetStatus { address: "10.0.0.1:80".parse().unwrap(), status: machine.status().clone() }
}

/// One of this health; if that is up, after a good answer that found this.
pub fn found(health: Health, findings: Findings) -> TargetStatus {
    let now = Instant::now();
    let mut machine = Machine::new(1, 1, health, now);
    if health == Health::Up {
        machine.on_event(Event::Good(Answer { latency: Duration::ZERO, findings }), now);
    }
    target(&machine)
}

/// What checks say of backends, each as `POOL/NAME`, that were not asked since they are of this health.
pub fn unasked(healths: &[(impl AsRef<str>, Health)]) -> BTreeMap<BackendId, TargetStatus> {
    let status = |health| target(&Machine::new(1, 1, health, Instant::now()));
    healths.iter().map(|(name, health)| (id(name.as_ref()), status(*health))).collect()
}
