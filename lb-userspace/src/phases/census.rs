//! A count of the flow table: whose flows live, which slots still need it, and which entries nobody needs.
//!
//! Always holds: an entry is over only if no packet that it is there for could be told from what its slot says, or if
//! its flow has been idle for longer than is promised.

use super::directory::Directory;
use crate::dataplane::{Dataplane, DataplaneError, Observed, Region};
use crate::model::Model;
use crate::reconcile::value_of;
use fnv::{FnvHashMap, FnvHashSet};
use lb_common::abi::{FlowKey, FlowState, FlowValue, Phase, ServiceKey, ServiceValue, Slot, is_mapped};
use lb_common::hash::{Flow, HashKey, flow_slot};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a flow that is closing, or was never opened, is remembered after its last packet: as long as TIME-WAIT on
/// Linux, and longer than any pause between a server's repeated SYN-ACKs.
const SHORT: Duration = Duration::from_mins(1);

/// How long a flow that is closing counts as somebody's after its last packet: its last words take a round trip or two.
/// It is remembered for longer, in case that the client closed its side only and is waiting.
const LAST_WORDS_S: u64 = 1;

/// The idle time of a flow is known to a second only: the datapath stamps whole ones.
const STAMP_S: u64 = 1;

/// A count of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries seen.
    pub entries: u64,
    /// Flows that live, by backend index; of those that are closing only the ones that still say something.
    pub flows: FnvHashMap<u32, u64>,
    /// Backends that entries lead to.
    pub named: BTreeSet<u32>,
    /// Entries among them that nobody needed any more, and that were forgotten.
    pub over: u64,
    /// Tracked slots, by their index in the map, with a flow that their current backend does not have.
    pub others: FnvHashSet<u32>,
}

impl Census {
    /// Whether a tracked slot has live flows of other backends than its current one.
    pub fn has_others(&self, slot: u32) -> bool {
        self.others.contains(&slot)
    }
}

/// A frontend as the census needs it.
struct Frontend<'a> {
    value: &'a ServiceValue,
    slots: &'a [Slot],
    timeout_s: u64,
}

/// Counts the flow table as it is at `now_ms`, and forgets what nobody needs.
///
/// # Errors
/// When it cannot be read.
pub fn take_census(
    dataplane: &mut impl Dataplane,
    model: &Model,
    observed: &Observed,
    now_ms: u64,
) -> Result<Census, DataplaneError> {
    let mut judge =
        Judge { frontends: &frontends(model, observed), observed, last: None, now_s: now_ms / 1_000 };
    let mut census = Census::default();
    dataplane.sweep_flows(&mut |key, value| {
        census.entries += 1;
        match judge.judge(key, value) {
            Judgement::Over => {
                census.over += 1;
                true
            }
            Judgement::Lives { other, counts } => {
                *census.flows.entry(value.backend()).or_default() += u64::from(counts);
                census.others.extend(other);
                false
            }
        }
    })?;
    census.named = census.flows.keys().copied().collect();
    Ok(census)
}

fn frontends<'a>(model: &Model, observed: &'a Observed) -> Directory<Frontend<'a>> {
    let mut frontends = Vec::new();
    for service in model.services.values() {
        let Some(pool) = model.pools.get(&service.pool) else { continue };
        for frontend in service.frontends() {
            let Some(value) = value_of(observed, &frontend) else { continue };
            let slots = observed.tables.get(&Region::of(value)).map_or(&[][..], Vec::as_slice);
            frontends.push((frontend, Frontend { value, slots, timeout_s: seconds_up(pool.flow_timeout) }));
        }
    }
    Directory::new(frontends.into_iter())
}

/// Whole seconds, rounded up.
fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// What becomes of an entry.
enum Judgement {
    /// Nobody needs it.
    Over,
    /// It lives.
    Lives {
        /// The index of its slot, if that is tracked and has another backend.
        other: Option<u32>,
        /// Whether it counts as its backend's: not if it has said its last words.
        counts: bool,
    },
}

/// What entries are judged by.
struct Judge<'a> {
    frontends: &'a Directory<Frontend<'a>>,
    observed: &'a Observed,
    /// The frontend of the entry before: most entries are of a few.
    last: Option<(ServiceKey, &'a Frontend<'a>)>,
    now_s: u64,
}

impl<'a> Judge<'a> {
    fn judge(&mut self, key: &FlowKey, value: FlowValue) -> Judgement {
        let Some((protocol, frontend)) = self.frontend(key) else { return Judgement::Over };
        let idle_s = self.now_s.saturating_sub(u64::from(value.seen_s));
        let most_s = match value.state() {
            FlowState::Established => frontend.timeout_s,
            FlowState::HalfOpen | FlowState::Closing => frontend.timeout_s.min(SHORT.as_secs()),
        };
        let owner = self.observed.backends.get(&value.backend());
        if idle_s > most_s + STAMP_S || !owner.is_some_and(|(_, entry)| entry.keeps_flows()) {
            return Judgement::Over;
        }
        let flow = Flow {
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol,
        };
        let [key_0, key_1] = self.observed.settings.hash_key;
        let (offset, count) = (frontend.value.slot_offset, frontend.value.slot_count);
        let v4 = is_mapped(key.destination);
        let place = flow_slot(HashKey(key_0, key_1), &flow, v4, frontend.value.affinity, count);
        let Some(slot) = frontend.slots.get(place as usize) else { return Judgement::Over };
        let counts = value.state() != FlowState::Closing || idle_s <= LAST_WORDS_S;
        match slot.phase() {
            Phase::Stable => Judgement::Over,
            Phase::Learning | Phase::Settling => Judgement::Lives { other: None, counts },
            Phase::Tracked if slot.current() == value.backend() => Judgement::Over,
            Phase::Tracked => Judgement::Lives { other: Some(offset + place), counts },
        }
    }

    /// Protocol and frontend of a flow.
    fn frontend(&mut self, key: &FlowKey) -> Option<(u8, &'a Frontend<'a>)> {
        let protocol = u8::try_from(key.protocol).ok()?;
        let service = ServiceKey { address: key.destination, port: key.destination_port, protocol, zero: 0 };
        if let Some((last, frontend)) = self.last
            && last == service
        {
            return Some((protocol, frontend));
        }
        let frontend = self.frontends.find(&service)?;
        self.last = Some((service, frontend));
        Some((protocol, frontend))
    }
}
