//! Sessions that end, over maps in memory, with time as an argument.

use super::*;
use crate::config;
use crate::dataplane::{Capacity, Dataplane as _, FakeDataplane, Observed};
use crate::keeper::{Keeper, Now, Sight, Surroundings};
use crate::model::Model;
use crate::reconcile::BackendName;
use lb_common::abi::{
    Address, BackendFlags, FlowKey, Session, SessionCell, SessionSeen, SessionState, SessionWay, address,
};
use lb_common::hash::HashKey;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// When every session was seen last.
const SEEN_S: u32 = 1_000;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// Sessions that the table has room for.
const SESSIONS: u32 = 60_000;

fn ip(text: &str) -> Address {
    address(text.parse::<IpAddr>().unwrap())
}

/// A pool of the backends `names`, each with an address of its own.
fn model(names: &[&str]) -> Model {
    let backends: Vec<String> =
        names.iter().map(|name| format!(r#"{{ name = "{name}", address = "{}" }}"#, home(name))).collect();
    let text = format!(
        r#"
        [node]
        interfaces = ["lo"]
        [pools.web]
        mode = "dsr-l2"
        slots = 251
        flow_timeout = "100s"
        backends = [{}]
        [services.web]
        vips = ["203.0.113.10"]
        ports = [80]
        protocol = "tcp"
        pool = "web"
        "#,
        backends.join(", ")
    );
    config::parse(&text, Path::new("test.toml")).unwrap().model
}

fn home(name: &str) -> &'static str {
    if name == "a" { "10.0.0.1" } else { "10.0.0.2" }
}

/// Everybody is well; the clock stands where it is put.
struct Around {
    now_ms: Cell<u64>,
    dead: BTreeSet<BackendName>,
}

impl Surroundings for Around {
    fn now(&self) -> Now {
        Now { instant: Instant::now(), monotonic_ms: self.now_ms.get() }
    }

    fn see(&self, model: &Model, _: &Observed) -> Sight {
        let names = model.pools.iter().flat_map(|(pool, entry)| {
            let backends = entry.backends.iter();
            backends.map(|backend| BackendName::of(pool, backend))
        });
        Sight { healthy: names.collect(), dead: self.dead.clone(), ..Sight::default() }
    }
}

/// Maps that are true to a model.
struct Bed {
    dataplane: FakeDataplane,
    keeper: Keeper,
    around: Around,
    model: Model,
}

impl Bed {
    fn new() -> Self {
        let capacity = Capacity { services: 8, backends: 8, slots: 1_024, flows: 1_024, sessions: SESSIONS };
        let mut bed = Self {
            dataplane: FakeDataplane::new(capacity, HashKey(1, 2)),
            keeper: Keeper::default(),
            around: Around { now_ms: Cell::new(u64::from(SEEN_S) * 1_000), dead: BTreeSet::new() },
            model: model(&["a", "b"]),
        };
        bed.reconcile();
        bed.dataplane.tables.settings.lookups = lb_common::abi::Lookups::SESSIONS;
        bed
    }

    fn reconcile(&mut self) {
        self.keeper.reconcile(&mut self.dataplane, &self.around, &self.model).unwrap();
    }

    /// Index of a backend.
    fn index(&self, name: &str) -> u32 {
        let observed = self.dataplane.observe().unwrap();
        let mut backends = observed.backends.iter();
        *backends.find(|(_, (_, entry))| entry.address == ip(home(name))).expect("a backend").0
    }

    /// Makes a session of the client's port, with both directions in these states.
    fn put(&mut self, protocol: u32, port: u16, name: &str, states: [SessionState; 2]) -> [FlowKey; 2] {
        let index = self.index(name);
        let (client, vip, source) = (ip("198.51.100.1"), ip("203.0.113.10"), ip("10.0.0.100"));
        let key = FlowKey {
            source: client,
            destination: vip,
            source_port: port,
            destination_port: 80_u16.to_be(),
            protocol,
        };
        let way = SessionWay {
            source,
            destination: ip(home(name)),
            source_port: port,
            destination_port: 80_u16.to_be(),
            service_index: 0,
            backend_index: index,
            reply: 0,
        };
        let answer = FlowKey {
            source: way.destination,
            destination: source,
            source_port: way.destination_port,
            destination_port: port,
            protocol,
        };
        let back = SessionWay {
            source: vip,
            destination: client,
            source_port: key.destination_port,
            destination_port: port,
            reply: 1,
            ..way
        };
        let mut sessions = self.dataplane.tables.sessions.borrow_mut();
        for ((key, way), state) in [(key, way), (answer, back)].into_iter().zip(states) {
            let session = Session { way, seen: SessionSeen::new(state, SEEN_S) };
            sessions.insert(key, Rc::new(SessionCell::new(session)));
        }
        [key, answer]
    }

    fn touch(&self, key: &FlowKey, state: SessionState, seen_s: u32) {
        let sessions = self.dataplane.tables.sessions.borrow();
        let cell = sessions.get(key).expect("an entry");
        cell.update(cell.seen(), SessionSeen::new(state, seen_s));
    }

    /// Sweeps that long after [`SEEN_S`].
    fn sweep(&mut self, after_s: u32) -> SessionCount {
        self.around.now_ms.set(u64::from(SEEN_S + after_s) * 1_000);
        while !self.keeper.sweep_sessions(&mut self.dataplane, &self.around, &self.model).unwrap() {}
        self.keeper.sessions.count.clone()
    }

    fn entries(&self) -> usize {
        self.dataplane.tables.sessions.borrow().len()
    }
}

#[test]
fn sessions_end_when_their_state_has_been_idle_for_too_long() {
    use SessionState::{Closing, Established, Opening, Silent};
    let cases = [
        (TCP, [Opening, Silent], 30),
        (TCP, [Opening, Established], 30),
        (TCP, [Established, Established], 100),
        (TCP, [Closing, Established], 60),
        (TCP, [Established, Closing], 60),
        (TCP, [Closing, Closing], 60),
        (TCP, [Opening, Closing], 60),
        (UDP, [Established, Silent], 30),
        (UDP, [Established, Established], 100),
    ];
    for (protocol, states, limit_s) in cases {
        let mut bed = Bed::new();
        bed.put(protocol, 7, "a", states);
        let count = bed.sweep(limit_s + 1);
        assert_eq!((count.sessions, count.over, bed.entries()), (1, 0, 2), "{states:?} at the limit");
        let count = bed.sweep(limit_s + 2);
        assert_eq!((count.sessions, count.over, count.orphans), (0, 1, 0), "{states:?} beyond it");
        assert_eq!(bed.entries(), 0);
    }
}

#[test]
fn a_session_lives_as_long_as_either_direction_is_used() {
    use SessionState::Established;
    for direction in [0, 1] {
        let mut bed = Bed::new();
        let keys = bed.put(TCP, 7, "a", [Established; 2]);
        bed.touch(&keys[direction], Established, SEEN_S + 500);
        assert_eq!(bed.sweep(550).sessions, 1);
        assert_eq!(bed.sweep(602).over, 1);
        assert_eq!(bed.entries(), 0);
    }
}

#[test]
fn sessions_count_as_their_backends_until_their_last_words() {
    use SessionState::{Closing, Established};
    let mut bed = Bed::new();
    let (a, b) = (bed.index("a"), bed.index("b"));
    bed.put(TCP, 1, "a", [Established; 2]);
    bed.put(TCP, 2, "a", [Closing, Established]);
    bed.put(TCP, 3, "b", [Closing; 2]);
    let count = bed.sweep(1);
    assert_eq!((count.flows[&a], count.flows[&b]), (2, 1));
    let count = bed.sweep(2);
    assert_eq!((count.flows[&a], count.flows[&b]), (2, 0));
    assert_eq!(count.named, BTreeSet::from([a, b]), "its index stays its own");
    assert_eq!(bed.keeper.flows_of(a), 2);
}

#[test]
fn sessions_of_dead_and_of_unknown_backends_end_at_once() {
    let mut bed = Bed::new();
    bed.put(TCP, 1, "a", [SessionState::Established; 2]);
    let index = bed.index("a") as usize;
    bed.dataplane.tables.backends[index].flags |= BackendFlags::DEAD;
    assert_eq!(bed.sweep(0).over, 1);
    assert_eq!(bed.entries(), 0);
}

#[test]
fn a_reply_entry_without_a_client_goes_when_it_is_not_just_being_made() {
    let mut bed = Bed::new();
    let index = bed.index("a");
    let [client, _] = bed.put(TCP, 1, "a", [SessionState::Opening, SessionState::Silent]);
    bed.dataplane.tables.sessions.borrow_mut().remove(&client);
    let count = bed.sweep(5);
    assert_eq!((count.orphans, bed.entries()), (0, 1));
    assert!(count.named.contains(&index), "it may be a session's in a moment");
    let count = bed.sweep(6);
    assert_eq!((count.orphans, count.over, bed.entries()), (1, 0, 0));
}

#[test]
fn a_client_entry_without_replies_ends_when_it_is_idle() {
    let mut bed = Bed::new();
    let [_, answer] = bed.put(TCP, 1, "a", [SessionState::Opening, SessionState::Silent]);
    bed.dataplane.tables.sessions.borrow_mut().remove(&answer);
    assert_eq!(bed.sweep(31).sessions, 1);
    assert_eq!(bed.sweep(32).over, 1);
    assert_eq!(bed.entries(), 0);
}

#[test]
fn fifty_thousand_sessions_come_and_go() {
    let mut bed = Bed::new();
    for port in 0..50_000 {
        bed.put(UDP, port, "a", [SessionState::Established, SessionState::Silent]);
    }
    let count = bed.sweep(10);
    assert_eq!((count.sessions, count.opening, count.over), (50_000, 50_000, 0));
    assert_eq!(bed.sweep(40).over, 50_000);
    assert_eq!((bed.entries(), bed.keeper.sessions.expired), (0, 50_000));
}

#[test]
fn a_backend_that_is_removed_keeps_its_index_until_its_last_session_ends() {
    let mut bed = Bed::new();
    let index = bed.index("b");
    bed.put(TCP, 1, "b", [SessionState::Established; 2]);
    bed.model = model(&["a"]);
    bed.reconcile();
    let has_index = |bed: &Bed| bed.dataplane.observe().unwrap().backends.contains_key(&index);
    // Slots that changed hands learn first: they lead to it for as long.
    for after_s in [50, 101, 150, 160, 170] {
        let keys: Vec<FlowKey> = bed.dataplane.tables.sessions.borrow().keys().copied().collect();
        for key in &keys {
            bed.touch(key, SessionState::Established, SEEN_S + after_s);
        }
        bed.sweep(after_s);
        bed.keeper.count(&mut bed.dataplane, &bed.around, &bed.model).unwrap();
        assert!(has_index(&bed), "after {after_s} s");
    }
    assert_eq!(bed.keeper.flows_of(index), 1);
    bed.sweep(600);
    bed.keeper.count(&mut bed.dataplane, &bed.around, &bed.model).unwrap();
    assert!(!has_index(&bed), "nothing names it any more");
}

#[test]
fn an_index_is_free_only_after_a_count_of_sessions_that_began_when_nothing_led_there() {
    let mut bed = Bed::new();
    let index = bed.index("b");
    bed.put(TCP, 1, "a", [SessionState::Established; 2]);
    bed.model = model(&["a"]);
    bed.reconcile();
    let mut has_index_at = |after_s: u32, sweeps: bool| {
        if sweeps {
            bed.sweep(after_s);
        }
        bed.around.now_ms.set(u64::from(SEEN_S + after_s) * 1_000);
        bed.keeper.count(&mut bed.dataplane, &bed.around, &bed.model).unwrap();
        bed.dataplane.observe().unwrap().backends.contains_key(&index)
    };
    assert!(has_index_at(0, true), "slots lead there");
    // Slots have learned and lead there no more; what sessions were made meanwhile nobody has counted yet.
    assert!((100..400).step_by(50).all(|after_s| has_index_at(after_s, false)));
    assert!(!has_index_at(400, true));
}

#[test]
fn a_count_takes_several_turns_and_sessions_that_end_meanwhile_do_no_harm() {
    let mut bed = Bed::new();
    for port in 0..100 {
        bed.put(TCP, port, "a", [SessionState::Established; 2]);
    }
    let mut turns = 1;
    while !bed.keeper.sweep_sessions(&mut bed.dataplane, &bed.around, &bed.model).unwrap() {
        turns += 1;
        bed.dataplane.tables.sessions.borrow_mut().pop_first();
    }
    assert!(turns > 1);
    assert!(bed.keeper.sessions.count.sessions >= 100 - turns);
    bed.sweep(102);
    bed.sweep(103);
    assert_eq!(bed.entries(), 0, "also what was left of those");
}

#[test]
fn a_reply_entry_that_another_client_has_now_stays() {
    let mut bed = Bed::new();
    let [old, answer] = bed.put(TCP, 1, "a", [SessionState::Established; 2]);
    let [other, _] = bed.put(TCP, 2, "a", [SessionState::Established; 2]);
    // The old client's entry outlived its session, and its port was given to another one.
    let mut sessions = bed.dataplane.tables.sessions.borrow_mut();
    let session = |key: &FlowKey| Session { way: sessions[key].way, seen: sessions[key].seen() };
    let (mut taken, mut way) = (session(&answer), session(&other));
    (taken.way.destination_port, way.way.source_port) = (other.source_port, answer.destination_port);
    taken.seen = SessionSeen::new(SessionState::Established, SEEN_S + 100);
    sessions.insert(answer, Rc::new(SessionCell::new(taken)));
    sessions.insert(other, Rc::new(SessionCell::new(way)));
    drop(sessions);
    let count = bed.sweep(110);
    assert_eq!((count.sessions, count.over), (1, 1));
    let sessions = bed.dataplane.tables.sessions.borrow();
    assert!(!sessions.contains_key(&old) && sessions.contains_key(&other) && sessions.contains_key(&answer));
}

#[test]
fn a_table_that_is_empty_and_stays_so_is_not_looked_at() {
    let mut bed = Bed::new();
    bed.dataplane.tables.settings.lookups = 0;
    bed.put(UDP, 1, "a", [SessionState::Established; 2]);
    assert_eq!(bed.sweep(0).sessions, 1, "an agent before may have left something");
    assert_eq!(bed.sweep(200).over, 1);
    assert_eq!(bed.sweep(201), SessionCount::default());
    assert!(bed.keeper.sessions.is_empty());
}

/// The same pool in `full-nat`, sending from this address.
fn sending_from(source: &str) -> Model {
    let mut model = model(&["a", "b"]);
    let pool = model.pools.get_mut("web").unwrap();
    (pool.mode, pool.snat) = (crate::model::ForwardMode::FullNat, vec![source.parse().unwrap()]);
    model
}

#[test]
fn an_address_that_is_taken_out_stays_the_nodes_until_its_last_session_ends() {
    let mut bed = Bed::new();
    let former = ip("10.0.0.100");
    bed.model = sending_from("10.0.0.100");
    bed.reconcile();
    bed.put(TCP, 1, "a", [SessionState::Established; 2]);
    bed.model = sending_from("10.0.0.101");
    bed.reconcile();
    let known = |bed: &Bed| bed.dataplane.observe().unwrap().addresses.contains_key(&former);
    let kept = |bed: &Bed| bed.keeper.kept_sources().contains(&former);
    assert!(known(&bed) && kept(&bed), "nobody has counted yet");
    for after_s in [5, 50, 100] {
        bed.sweep(after_s);
        bed.reconcile();
        assert!(known(&bed) && kept(&bed), "after {after_s} s");
    }
    bed.sweep(102);
    bed.reconcile();
    assert!(!known(&bed) && !kept(&bed), "nobody sends from it");
    assert!(bed.dataplane.observe().unwrap().addresses.contains_key(&ip("10.0.0.101")));
}

#[test]
fn what_is_over_goes_sooner_where_room_is_short() {
    let mut bed = Bed::new();
    bed.put(TCP, 1, "a", [SessionState::Closing; 2]);
    let after = |after_s: u32| u64::from(SEEN_S + after_s) * 1_000;
    let mut over = |now_ms, crowded| {
        let mut sweep = Sweep::begin(now_ms, crowded);
        loop {
            if let Some(count) = sweep.turn(&mut bed.dataplane, &bed.model, now_ms).unwrap() {
                return count.over;
            }
        }
    };
    assert_eq!((over(after(12), false), over(after(11), true), over(after(12), true)), (0, 0, 1));
}
