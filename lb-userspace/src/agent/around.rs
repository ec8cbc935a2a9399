//! The world as the agent sees it: health, next hops, interfaces, clocks.

use super::admission::{self, Known, Verdict};
use super::state::State;
use super::{desired, ports};
use crate::dataplane::Observed;
use crate::health::{BackendId, TargetStatus};
use crate::keeper::{Now, Sight, Surroundings};
use crate::model::Model;
use crate::netlink::LinkTable;
use crate::reconcile::Hop;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

/// What was known when a piece of work began.
pub struct Around {
    checked: BTreeMap<BackendId, TargetStatus>,
    hops: BTreeMap<IpAddr, Option<Hop>>,
    attached: BTreeSet<u32>,
    links: LinkTable,
    /// How pools were judged when they were last looked at.
    verdicts: RefCell<Vec<Verdict>>,
}

impl Around {
    /// What is known now.
    pub fn of(state: &State) -> Self {
        let links = state.links();
        let mut hops = desired::hops(&state.hops());
        hops.values_mut().flatten().for_each(|hop| *hop = ports::fitted(*hop, &links));
        let attached = state.interfaces.iter().map(|interface| interface.ifindex).collect();
        Self { checked: state.health(), hops, attached, links, verdicts: RefCell::default() }
    }

    /// How pools were judged last.
    pub fn into_verdicts(self) -> Vec<Verdict> {
        self.verdicts.into_inner()
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
        let (in_use, now) = (desired::in_use(observed), Instant::now());
        let known = Known { model, checked: &self.checked, in_use: &in_use, now };
        let admitted = admission::admit(&known);
        let dead = desired::dead(model, &self.checked, &admitted, now);
        self.verdicts.replace(admitted.verdicts);
        Sight {
            healthy: admitted.served,
            percents: admitted.percents,
            dead,
            hops: self.hops.clone(),
            devices,
            links: vlans,
        }
    }
}
