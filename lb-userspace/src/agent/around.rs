//! The world as the agent sees it: health, next hops, interfaces, clocks.

use super::state::State;
use super::{desired, ports};
use crate::dataplane::Observed;
use crate::health::{BackendId, TargetStatus};
use crate::keeper::{Now, Sight, Surroundings};
use crate::model::Model;
use crate::netlink::LinkTable;
use crate::reconcile::Hop;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

/// What was known when a piece of work began.
pub struct Around {
    checked: BTreeMap<BackendId, TargetStatus>,
    hops: BTreeMap<IpAddr, Option<Hop>>,
    attached: BTreeSet<u32>,
    links: LinkTable,
}

impl Around {
    /// What is known now.
    pub fn of(state: &State) -> Self {
        let links = state.links();
        let mut hops = desired::hops(&state.hops());
        hops.values_mut().flatten().for_each(|hop| *hop = ports::fitted(*hop, &links));
        let attached = state.interfaces.iter().map(|interface| interface.ifindex).collect();
        Self { checked: state.health(), hops, attached, links }
    }
}

/// The time on both clocks; `bpf_ktime_get_coarse_ns` is the second one, a tick behind.
pub fn now() -> Now {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    Now { instant: Instant::now(), monotonic_ms: seconds * 1_000 + nanoseconds / 1_000_000 }
}

impl Surroundings for Around {
    fn now(&self) -> Now {
        now()
    }

    fn see(&self, model: &Model, observed: &Observed) -> Sight {
        let vlans = ports::vlans(&model.node, &self.links, &self.hops);
        let mut devices = ports::devices(&model.node, &self.links, &self.hops, &vlans);
        devices.extend(&self.attached);
        Sight {
            healthy: desired::healthy(model, &self.checked, &desired::in_use(observed)),
            dead: desired::dead(model, &self.checked, Instant::now()),
            hops: self.hops.clone(),
            devices,
            links: vlans,
        }
    }
}
