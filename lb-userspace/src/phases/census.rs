//! A count of the flow table: whose flows live, which slots still need it, and which entries nobody needs.
//!
//! Always holds: an entry is over only if no packet that it is there for could be told from what its slot says, or if
//! its flow has been idle for longer than is promised.

use crate::dataplane::{Dataplane, DataplaneError, Observed, Region};
use crate::model::Model;
use crate::reconcile::service_key;
use lb_common::abi::{FlowKey, FlowState, FlowValue, Phase, ServiceKey, ServiceValue, Slot, is_mapped};
use lb_common::hash::{Flow, HashKey, flow_slot};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// How long a flow that is closing, or was never opened, is remembered after its last packet: as long as TIME-WAIT on
/// Linux, and longer than any pause between a server's repeated SYN-ACKs.
const SHORT: Duration = Duration::from_mins(1);

/// The idle time of a flow is known to a second only: the datapath stamps whole ones.
const STAMP_S: u64 = 1;

/// A count of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries seen.
    pub entries: u64,
    /// Flows that live, by backend index.
    pub flows: BTreeMap<u32, u64>,
    /// Entries that nobody needs any more.
    pub over: Vec<FlowKey>,
    /// Tracked slots, by their index in the map, with a flow that their current backend does not have.
    pub others: HashSet<u32>,
}

impl Census {
    /// Whether a tracked slot has live flows of other backends than its current one.
    pub fn has_others(&self, slot: u32) -> bool {
        self.others.contains(&slot)
    }

    /// Backends that flows lead to.
    pub fn named(&self) -> BTreeSet<u32> {
        self.flows.keys().copied().collect()
    }
}

/// A frontend as the census needs it.
struct Frontend<'a> {
    value: &'a ServiceValue,
    slots: &'a [Slot],
    timeout_s: u64,
}

/// Counts the flow table as it is at `now_ms`.
///
/// # Errors
/// When it cannot be read.
pub fn take_census(
    dataplane: &impl Dataplane,
    model: &Model,
    observed: &Observed,
    now_ms: u64,
) -> Result<Census, DataplaneError> {
    let frontends = frontends(model, observed);
    let [key_0, key_1] = observed.settings.hash_key;
    let hash_key = HashKey(key_0, key_1);
    let mut census = Census::default();
    dataplane.visit_flows(&mut |key, value| {
        census.entries += 1;
        match judge(key, value, &frontends, observed, hash_key, now_ms / 1_000) {
            Judgement::Over => census.over.push(*key),
            Judgement::Lives { other } => {
                *census.flows.entry(value.backend()).or_default() += 1;
                census.others.extend(other);
            }
        }
    })?;
    Ok(census)
}

fn frontends<'a>(model: &Model, observed: &'a Observed) -> HashMap<ServiceKey, Frontend<'a>> {
    let mut frontends = HashMap::new();
    for service in model.services.values() {
        let Some(pool) = model.pools.get(&service.pool) else { continue };
        for key in service.frontends().map(|frontend| service_key(&frontend)) {
            let Some(value) = observed.services.get(&key) else { continue };
            let region = Region { offset: value.slot_offset, count: value.slot_count };
            let slots = observed.tables.get(&region).map_or(&[][..], Vec::as_slice);
            frontends.insert(key, Frontend { value, slots, timeout_s: seconds_up(pool.flow_timeout) });
        }
    }
    frontends
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
    },
}

fn judge(
    key: &FlowKey,
    value: FlowValue,
    frontends: &HashMap<ServiceKey, Frontend<'_>>,
    observed: &Observed,
    hash_key: HashKey,
    now_s: u64,
) -> Judgement {
    let Ok(protocol) = u8::try_from(key.protocol) else { return Judgement::Over };
    let service = ServiceKey { address: key.destination, port: key.destination_port, protocol, zero: 0 };
    let Some(frontend) = frontends.get(&service) else { return Judgement::Over };
    let idle_s = now_s.saturating_sub(u64::from(value.seen_s));
    let most_s = match value.state() {
        FlowState::Established => frontend.timeout_s,
        FlowState::HalfOpen | FlowState::Closing => frontend.timeout_s.min(SHORT.as_secs()),
    };
    let keeps = observed.backends.get(&value.backend()).is_some_and(|(_, entry)| entry.keeps_flows());
    if idle_s > most_s + STAMP_S || !keeps {
        return Judgement::Over;
    }
    let flow = Flow {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol,
    };
    let (offset, count) = (frontend.value.slot_offset, frontend.value.slot_count);
    let place = flow_slot(hash_key, &flow, is_mapped(key.destination), frontend.value.affinity, count);
    let Some(slot) = frontend.slots.get(place as usize) else { return Judgement::Over };
    match slot.phase() {
        Phase::Stable => Judgement::Over,
        Phase::Learning | Phase::Settling => Judgement::Lives { other: None },
        Phase::Tracked if slot.current() == value.backend() => Judgement::Over,
        Phase::Tracked => Judgement::Lives { other: Some(offset + place) },
    }
}
