//! The fixtures on the host: the pipeline over tables in memory.

use lb_common::abi::{
    BackendCounters, DropReason, ForwardReason, NoteReason, PassReason, ServiceCounters, verdict_name,
};
use lb_common::tables::MemTables;
use lb_tests::fixtures::{Counted, Family, Fixture, Protocol, Service, all, run_on_host, run_over, world};
use lb_tests::hex::hex;
use std::collections::{BTreeMap, BTreeSet};

/// Where notes begin: numbers that are counted beside a packet's verdict.
const NOTES: u8 = 192;

/// Fewer would mean that a part of the table got lost.
const LEAST_FIXTURES: usize = 500;

#[test]
fn every_fixture_gives_its_verdict_and_bytes_on_the_host() {
    let world = world();
    let fixtures = all();
    assert!(fixtures.len() >= LEAST_FIXTURES, "only {} fixtures", fixtures.len());
    let mut faults = Vec::new();
    for fixture in &fixtures {
        let (verdict, frame) = run_on_host(fixture, &world);
        if verdict != fixture.verdict {
            faults.push(format!("{}\n  verdict {verdict:?}, expected {:?}", fixture.name, fixture.verdict));
        } else if frame != fixture.expected {
            let (got, wanted) = (hex(&frame), hex(&fixture.expected));
            faults.push(format!("{}\n  frame    {got}\n  expected {wanted}", fixture.name));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), fixtures.len(), faults.join("\n"));
}

/// What the counters have to say after a single packet.
fn expected_counters(fixture: &Fixture) -> (BTreeMap<u32, ServiceCounters>, BTreeMap<u32, BackendCounters>) {
    match fixture.counted {
        Counted::Nothing => (BTreeMap::new(), BTreeMap::new()),
        Counted::Request { service, backend, bytes, opens } => {
            let new_connections = u64::from(opens);
            let of_service = ServiceCounters { packets: 1, bytes, new_connections, reply_bytes: 0 };
            let of_backend = BackendCounters { packets: 1, bytes, new_connections, reply_bytes: 0 };
            (BTreeMap::from([(service, of_service)]), BTreeMap::from([(backend, of_backend)]))
        }
        Counted::Reply { service, backend, bytes } => {
            let of_service = ServiceCounters { reply_bytes: bytes, ..ServiceCounters::default() };
            let of_backend = BackendCounters { reply_bytes: bytes, ..BackendCounters::default() };
            (BTreeMap::from([(service, of_service)]), BTreeMap::from([(backend, of_backend)]))
        }
    }
}

fn check_counters(fixture: &Fixture, tables: &MemTables) {
    let name = &fixture.name;
    let verdicts = BTreeMap::from([(fixture.verdict.number(), 1)]);
    let (services, backends) = expected_counters(fixture);
    let counted: BTreeMap<u8, u64> = tables
        .verdicts
        .borrow()
        .iter()
        .filter(|(number, _)| **number < NOTES)
        .map(|(a, b)| (*a, *b))
        .collect();
    assert_eq!(counted, verdicts, "verdicts of: {name}");
    assert_eq!(*tables.service_counters.borrow(), services, "service counters of: {name}");
    assert_eq!(*tables.backend_counters.borrow(), backends, "backend counters of: {name}");
}

#[test]
fn every_fixture_is_counted_where_it_belongs_and_nowhere_else() {
    let world = world();
    for fixture in all() {
        let tables = world.tables(fixture.recording, fixture.answers);
        run_over(&fixture, &tables);
        check_counters(&fixture, &tables);
    }
}

#[test]
fn every_fixture_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for fixture in all() {
        assert!(names.insert(fixture.name.clone()), "twice: {}", fixture.name);
    }
}

#[test]
fn fixtures_meet_every_verdict_that_a_packet_can_bring_about() {
    let met: BTreeSet<u8> = all().iter().map(|fixture| fixture.verdict.number()).collect();
    // Head room is a property of the driver's buffers, and which programs there are one of the kernel.
    // Tables that are full are tested by themselves (kernel_fixtures/sessions.rs and lb-common/tests).
    let not_met = [
        DropReason::NoHeadroom.number(),
        PassReason::Unavailable.number(),
        DropReason::PortsExhausted.number(),
        DropReason::SessionsFull.number(),
    ];
    let missing: Vec<_> = (0..NOTES)
        .filter(|number| !met.contains(number) && !not_met.contains(number))
        .filter_map(verdict_name)
        .collect();
    assert!(missing.is_empty(), "no fixture for {missing:?}");
    assert!(met.contains(&PassReason::NotIp.number()) && met.contains(&ForwardReason::DsrIpip.number()));
}

#[test]
fn the_documentation_lists_every_verdict() {
    let text = include_str!("../../docs/datapath.md");
    for (number, (_, name)) in (0..=u8::MAX).filter_map(|number| Some((number, verdict_name(number)?))) {
        let row = format!("| {number} | `{name}` |");
        assert!(text.contains(&row), "docs/datapath.md has no row {row:?}");
    }
}

/// The kernel's routing table is asked where the agent knows no next hop, and that is counted.
#[test]
fn asking_the_routing_table_for_a_backend_is_noted() {
    let world = world();
    let asked = |service: Service| {
        let name = format!("at {service:?}");
        let fixture = all()
            .into_iter()
            .find(|it| matches!(it.counted, Counted::Request { service: index, .. } if index == world.service_index(service, Family::V4, Protocol::Tcp)))
            .expect(&name);
        let tables = world.tables(fixture.recording, true);
        run_over(&fixture, &tables);
        let verdicts = tables.verdicts.borrow();
        verdicts.get(&NoteReason::RouteAsked.number()).copied().unwrap_or(0)
    };
    assert_eq!((asked(Service::Nat), asked(Service::NatRouted)), (0, 1));
}
