//! When slots move on, with time as an argument.

use super::*;
use crate::config;
use crate::dataplane::Capacity;
use lb_common::abi::{Settings, address};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// The pool's `flow_timeout`, in milliseconds.
const TIMEOUT_MS: u64 = 100_000;
/// When a slot begins to learn.
const BEGIN_MS: u64 = 1_000_000;
const SETTLING_MS: u64 = 5_000;

fn web() -> TableKey {
    TableKey { pool: "web".to_owned(), families: Families::V4 }
}

fn model() -> Model {
    let file = r#"
        [node]
        interfaces = ["lo"]
        [pools.web]
        mode = "nat"
        slots = 251
        flow_timeout = "100s"
        backends = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
        [services.web]
        vips = ["203.0.113.10"]
        ports = [80]
        protocol = "tcp"
        pool = "web"
    "#;
    config::parse(file, Path::new("test.toml")).unwrap().model
}

/// Maps with one slot table, all of whose slots are `slot`.
fn observed(slot: Slot) -> Observed {
    let key = lb_common::abi::ServiceKey {
        address: address(IpAddr::from([203, 0, 113, 10])),
        port: 80_u16.to_be(),
        protocol: 6,
        zero: 0,
    };
    let value = lb_common::abi::ServiceValue {
        slot_offset: 7,
        slot_count: 251,
        index: 0,
        mode: 1,
        affinity: 0,
        zero: [0; 2],
    };
    Observed {
        capacity: Capacity { services: 1, backends: 2, slots: 300, flows: 1024, sessions: 64 },
        settings: Settings::default(),
        services: BTreeMap::from([(key, value)]),
        addresses: BTreeMap::new(),
        ranges: BTreeMap::new(),
        networks: BTreeMap::new(),
        reverse: BTreeMap::new(),
        reverse_ranges: BTreeMap::new(),
        snat: BTreeMap::new(),
        backends: BTreeMap::new(),
        tables: BTreeMap::from([(Region { offset: 7, count: 251 }, vec![slot; 251])]),
        devices: std::collections::BTreeSet::new(),
        links: BTreeMap::new(),
    }
}

/// A table of equal slots on its way through time.
struct Way {
    model: Model,
    phases: Phases,
    slot: Slot,
    counters: FlowCounters,
    census: Census,
}

impl Way {
    /// Slots that began to learn at [`BEGIN_MS`].
    fn learning() -> Self {
        let mut way = Self {
            model: model(),
            phases: Phases::default(),
            slot: Slot::new(1, 0, Phase::Learning),
            counters: FlowCounters::default(),
            census: Census::default(),
        };
        way.phases.started(&BTreeMap::from([(web(), (0..251).collect())]), BEGIN_MS);
        way.at(0);
        way
    }

    /// The phase after a look at that many milliseconds after the beginning.
    fn at(&mut self, after_ms: u64) -> Phase {
        let observed = observed(self.slot);
        let now_ms = BEGIN_MS + after_ms;
        let view = View {
            model: &self.model,
            observed: &observed,
            counters: &self.counters,
            census: Some((&self.census, now_ms)),
            now_ms,
        };
        for op in self.phases.advance(&view) {
            let Op::WriteSlots { offset: 7, slots } = op else { panic!("{op:?}") };
            assert!(slots.iter().all(|slot| *slot == slots[0]), "equal slots have equal fates");
            self.slot = slots[0];
        }
        self.slot.phase()
    }

    fn refuse_an_established_flow(&mut self) {
        *self.counters.refused(RecordKind::Established) += 1;
    }
}

#[test]
fn a_slot_learns_for_flow_timeout_settles_and_is_tracked_until_its_flows_are_over() {
    let mut way = Way::learning();
    assert_eq!(way.at(TIMEOUT_MS), Phase::Learning);
    assert_eq!(way.at(TIMEOUT_MS + 1), Phase::Settling);
    // It is seen to settle at the next look.
    assert_eq!(way.at(TIMEOUT_MS + 500), Phase::Settling);
    assert_eq!(way.at(TIMEOUT_MS + 500 + SETTLING_MS), Phase::Settling);
    assert_eq!(way.at(TIMEOUT_MS + 501 + SETTLING_MS), Phase::Tracked);
    way.census.others.insert(7 + 250);
    let later = TIMEOUT_MS + 10 * SETTLING_MS;
    way.census.others.extend(7..7 + 250);
    assert_eq!(way.at(later), Phase::Tracked);
    assert_eq!(way.at(later + 10 * TIMEOUT_MS), Phase::Tracked, "as long as a flow lives");
    way.census.others.clear();
    assert_eq!(way.at(later + 10 * TIMEOUT_MS + 500), Phase::Stable);
}

#[test]
fn refused_flows_of_established_connections_prolong_learning_and_not_for_ever() {
    let mut way = Way::learning();
    way.at(TIMEOUT_MS / 2);
    way.refuse_an_established_flow();
    way.at(TIMEOUT_MS / 2 + 1);
    assert_eq!(way.at(TIMEOUT_MS + 1), Phase::Learning);
    assert_eq!(way.at(TIMEOUT_MS / 2 * 3 + 2), Phase::Settling);
    way.refuse_an_established_flow();
    way.at(TIMEOUT_MS / 2 * 3 + 100);
    assert_eq!(
        way.at(TIMEOUT_MS / 2 * 3 + 200),
        Phase::Learning,
        "somebody could not be recorded while it settled"
    );
    for step in 1..=100 {
        way.refuse_an_established_flow();
        way.at(TIMEOUT_MS * 2 + step * TIMEOUT_MS / 10);
    }
    assert_ne!(way.at(TIMEOUT_MS * 13), Phase::Learning);
}

#[test]
fn refused_openings_and_datagrams_prolong_nothing() {
    let mut way = Way::learning();
    for step in 1..=100 {
        *way.counters.refused(RecordKind::Opening) += 1_000;
        *way.counters.refused(RecordKind::Udp) += 1_000;
        way.at(step * TIMEOUT_MS / 100);
    }
    assert_eq!(way.at(TIMEOUT_MS + 1), Phase::Settling);
}

#[test]
fn an_agent_that_starts_begins_the_clocks_anew() {
    let mut way = Way::learning();
    way.at(TIMEOUT_MS / 2);
    way.phases = Phases::default();
    way.at(TIMEOUT_MS);
    assert_eq!(way.at(TIMEOUT_MS * 2), Phase::Learning);
    assert_eq!(way.at(TIMEOUT_MS * 2 + 1), Phase::Settling);
    way.slot = Slot::new(1, 0, Phase::Tracked);
    way.phases = Phases::default();
    assert_eq!(way.at(TIMEOUT_MS * 3), Phase::Tracked, "the count may be older than the phase");
    assert_eq!(way.at(TIMEOUT_MS * 3 + 500), Phase::Stable);
}

#[test]
fn a_slot_that_learns_again_before_the_next_look_has_its_whole_time() {
    let mut way = Way::learning();
    way.at(TIMEOUT_MS - 500);
    // Back to the base, and away from it again: another set of unknown flows.
    way.slot = way.slot.moved_to(0).moved_to(1);
    way.phases.started(&BTreeMap::from([(web(), (0..251).collect())]), BEGIN_MS + TIMEOUT_MS);
    assert_eq!(way.at(TIMEOUT_MS + 1), Phase::Learning);
    assert_eq!(way.at(TIMEOUT_MS * 2 + 1), Phase::Settling);
}

#[test]
fn a_further_move_while_learning_does_not_prolong_it() {
    let mut way = Way::learning();
    way.at(TIMEOUT_MS - 500);
    way.slot = way.slot.moved_to(5);
    assert_eq!(way.at(TIMEOUT_MS + 1), Phase::Settling);
}

#[test]
fn the_time_until_all_is_known_is_told() {
    let mut way = Way::learning();
    way.at(TIMEOUT_MS / 4);
    let left = |way: &Way, backend, after_ms| {
        way.phases.settles_in(&way.model, &observed(way.slot), backend, BEGIN_MS + after_ms)
    };
    let whole = Duration::from_millis(TIMEOUT_MS + SETTLING_MS);
    assert_eq!(left(&way, 0, 0), Some(whole));
    assert_eq!(left(&way, 0, 40_000), Some(Duration::from_millis(TIMEOUT_MS + SETTLING_MS - 40_000)));
    assert_eq!(left(&way, 1, 0), None, "it has the slots");
}

#[test]
fn the_fuller_the_table_the_less_is_recorded() {
    assert_eq!(recording(400, 1000), Recording::All);
    assert_eq!(recording(401, 1000), Recording::EstablishedOnly);
    assert_eq!(recording(750, 1000), Recording::EstablishedOnly);
    assert_eq!(recording(751, 1000), Recording::Nothing);
}
