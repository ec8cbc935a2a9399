//! The memory of slots over time: when they learn, settle, are tracked and become stable again (docs/flows.md).
//!
//! Role: pure; `now_ms` is an argument, on the clock that the datapath stamps flows with (`CLOCK_MONOTONIC`). Imports
//! model, the dataplane's types, reconcile's names and lb-common. Always holds: whatever is not known, such as when a
//! slot began to learn before this agent started, counts as having happened just now: it takes longer, and breaks
//! nothing.

mod census;
mod directory;

pub use census::{Census, take_census};

use crate::dataplane::{Observed, Op, Region};
use crate::model::Model;
use crate::reconcile::{Families, TableKey, value_of};
use lb_common::abi::{FlowCounters, Phase, RecordKind, Recording, Slot};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a slot settles: time that a client has to answer a SYN-ACK with its ACK, so that the connection is known.
/// The second SYN-ACK is sent after one second, the third after three (RFC 6298).
const SETTLING: Duration = Duration::from_secs(5);

/// Learning is prolonged by this many times `flow_timeout` at most, even if flows of established connections are refused
/// all along: a flood of packets that pretend to belong to connections must not hold a drain for ever.
const MOST_PROLONGING: u64 = 9;

/// Time after a slot became tracked until its flows may be counted: far longer than a packet takes that saw it before.
pub const READERS_MS: u64 = 100;

/// Where an unknown moment is written as.
const UNKNOWN: u64 = 0;

/// What the agent remembers of a slot.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The slot as it was when last looked at.
    slot: Slot,
    /// When that was found so first.
    found_ms: u64,
    /// When it began to learn.
    learning_ms: u64,
    /// Since when it goes on learning only because somebody was refused.
    prolonged_ms: u64,
}

/// Clocks of all slots that need one.
#[derive(Debug, Default)]
pub struct Phases {
    tables: BTreeMap<TableKey, Vec<Clock>>,
    refusals: Refusals,
}

/// When a flow of an established connection was refused last.
#[derive(Debug, Default)]
struct Refusals {
    count: Option<u64>,
    last_ms: u64,
}

/// What the clocks are moved by.
pub struct View<'a> {
    /// The configuration in force.
    pub model: &'a Model,
    /// The maps.
    pub observed: &'a Observed,
    /// What became of flows so far.
    pub counters: &'a FlowCounters,
    /// Flows as they are now, and when the count began; without it, no tracked slot becomes stable.
    pub census: Option<(&'a Census, u64)>,
    /// The time.
    pub now_ms: u64,
}

/// How many slots are in which phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCounts {
    /// Learning or settling.
    pub learning: u64,
    /// Tracked.
    pub tracked: u64,
}

impl Phases {
    /// Starts the clocks of slots that began to learn, as [`crate::reconcile::Plan::learning`] says; after the plan was
    /// carried out.
    pub fn started(&mut self, learning: &BTreeMap<TableKey, Vec<u32>>, now_ms: u64) {
        for (table, places) in learning {
            let clocks = self.tables.entry(table.clone()).or_default();
            for place in places.iter().map(|place| *place as usize) {
                if clocks.len() <= place {
                    clocks.resize(place + 1, Clock::of(Slot::stable(Slot::NOBODY)));
                }
                if let Some(clock) = clocks.get_mut(place) {
                    clock.learning_ms = now_ms;
                    clock.prolonged_ms = UNKNOWN;
                }
            }
        }
    }

    /// Moves every slot on whose time has come. Returns what to write.
    pub fn advance(&mut self, view: &View<'_>) -> Vec<Op> {
        self.refusals.look(view);
        let mut ops = Vec::new();
        let tables = tables(view.model, view.observed);
        self.tables.retain(|table, _| tables.contains_key(table));
        for (table, (region, timeout)) in tables {
            let Some(slots) = view.observed.tables.get(&region) else { continue };
            if slots.iter().all(|slot| slot.is_stable()) {
                self.tables.remove(&table);
                continue;
            }
            let clocks = self.tables.entry(table).or_default();
            clocks.resize(slots.len(), Clock::of(Slot::stable(Slot::NOBODY)));
            let rules = Rules { view, timeout_ms: milliseconds(timeout), refused_ms: self.refusals.last_ms };
            let mut next = slots.clone();
            for ((at, slot), clock) in (region.offset..).zip(&mut next).zip(clocks.iter_mut()) {
                clock.look(*slot, view.now_ms);
                *slot = rules.next(*slot, clock, at);
            }
            if next != *slots {
                ops.push(Op::WriteSlots { offset: region.offset, slots: next });
            }
        }
        ops
    }

    /// Time until every flow of a backend that slots took away is known; none if that is so already.
    pub fn settles_in(
        &self,
        model: &Model,
        observed: &Observed,
        backend: u32,
        now_ms: u64,
    ) -> Option<Duration> {
        let mut longest = None;
        for (table, (region, timeout)) in tables(model, observed) {
            let (Some(slots), Some(clocks)) = (observed.tables.get(&region), self.tables.get(&table)) else {
                continue;
            };
            let timeout_ms = milliseconds(timeout);
            let settling_ms = settling_ms(timeout_ms);
            for (slot, clock) in slots.iter().zip(clocks) {
                if !slot.has_base() || slot.base() != backend {
                    continue;
                }
                let end_ms = match slot.phase() {
                    Phase::Settling => clock.found_ms + settling_ms,
                    _ => clock.learning_ms.max(self.refusals.last_ms) + timeout_ms + settling_ms,
                };
                longest = longest.max(Some(end_ms.saturating_sub(now_ms)));
            }
        }
        longest.map(Duration::from_millis)
    }
}

/// Slots of all tables by phase.
pub fn count(observed: &Observed) -> PhaseCounts {
    let mut counts = PhaseCounts::default();
    for slot in observed.tables.values().flatten() {
        match slot.phase() {
            Phase::Stable => {}
            Phase::Learning | Phase::Settling => counts.learning += 1,
            Phase::Tracked => counts.tracked += 1,
        }
    }
    counts
}

/// What may be recorded with that many entries in use: the fuller the table, the less of what anyone can send. The last
/// quarter is for what comes between two counts, ten seconds apart at most ([`crate::dataplane::Capacity::record_rates`]).
pub fn recording(entries: u64, capacity: u32) -> Recording {
    let capacity = u64::from(capacity);
    if entries > capacity / 4 * 3 {
        Recording::Nothing
    } else if entries > capacity / 5 * 2 {
        Recording::EstablishedOnly
    } else {
        Recording::All
    }
}

/// Every table in force, with its pool's `flow_timeout`.
fn tables(model: &Model, observed: &Observed) -> BTreeMap<TableKey, (Region, Duration)> {
    let mut tables = BTreeMap::new();
    for service in model.services.values() {
        let Some(pool) = model.pools.get(&service.pool) else { continue };
        for frontend in service.frontends() {
            let Some(value) = value_of(observed, &frontend).filter(|value| value.slot_count > 0) else {
                continue;
            };
            let table = TableKey { pool: service.pool.as_str(), families: Families::of(pool, frontend.vip) };
            tables.entry(table).or_insert((Region::of(value), pool.flow_timeout));
        }
    }
    tables.into_iter().map(|(table, found)| (table.owned(), found)).collect()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn settling_ms(timeout_ms: u64) -> u64 {
    milliseconds(SETTLING).min(timeout_ms)
}

impl Refusals {
    /// Looks at the counter. What an earlier agent left counts as having happened just now.
    fn look(&mut self, view: &View<'_>) {
        let count = view.counters.refusals(RecordKind::Established);
        let changed = match self.count {
            Some(before) => count != before,
            None => count > 0,
        };
        if changed {
            self.last_ms = view.now_ms;
        }
        self.count = Some(count);
    }
}

impl Clock {
    const fn of(slot: Slot) -> Self {
        Self { slot, found_ms: UNKNOWN, learning_ms: UNKNOWN, prolonged_ms: UNKNOWN }
    }

    fn look(&mut self, slot: Slot, now_ms: u64) {
        if self.slot != slot || self.found_ms == UNKNOWN {
            self.slot = slot;
            self.found_ms = now_ms;
        }
        if !slot.has_base() {
            self.learning_ms = UNKNOWN;
            self.prolonged_ms = UNKNOWN;
        } else if self.learning_ms == UNKNOWN {
            self.learning_ms = now_ms;
        }
    }
}

/// When a slot of one pool moves on.
struct Rules<'a> {
    view: &'a View<'a>,
    timeout_ms: u64,
    refused_ms: u64,
}

impl Rules<'_> {
    /// The slot as it shall be; `at` is its index in the map.
    fn next(&self, slot: Slot, clock: &mut Clock, at: u32) -> Slot {
        let now_ms = self.view.now_ms;
        match slot.phase() {
            Phase::Learning if now_ms.saturating_sub(clock.learning_ms) <= self.timeout_ms => slot,
            Phase::Learning => {
                let refused = now_ms.saturating_sub(self.refused_ms) <= self.timeout_ms;
                if refused && self.prolongs(clock) { slot } else { slot.settled() }
            }
            // Somebody could not be recorded: back to where nobody has to be dropped for it.
            Phase::Settling if self.refused_ms >= clock.found_ms && self.prolongs(clock) => slot.unsettled(),
            Phase::Settling => {
                let settled = now_ms.saturating_sub(clock.found_ms) > settling_ms(self.timeout_ms);
                if settled { slot.tracked() } else { slot }
            }
            Phase::Tracked => {
                let alone = self.view.census.is_some_and(|(census, began_ms)| {
                    began_ms > clock.found_ms + READERS_MS && !census.has_others(at)
                });
                if alone { slot.stabilised() } else { slot }
            }
            Phase::Stable => slot,
        }
    }

    /// Prolongs learning because somebody was refused; false if that has gone on for long enough.
    fn prolongs(&self, clock: &mut Clock) -> bool {
        if clock.prolonged_ms == UNKNOWN {
            clock.prolonged_ms = self.view.now_ms;
        }
        let prolonged_ms = self.view.now_ms.saturating_sub(clock.prolonged_ms);
        prolonged_ms <= self.timeout_ms.saturating_mul(MOST_PROLONGING)
    }
}

#[cfg(test)]
mod tests;
