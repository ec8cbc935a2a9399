//! The fixtures of decapsulation on the host: `decap::process` over tables in memory.

use lb_common::decap::{DECAP_NUMBERS, DecapReason, decap_name};
use lb_tests::decap_fixtures::{all, run_on_host, tables};
use lb_tests::hex::hex;
use std::collections::{BTreeMap, BTreeSet};

/// Fewer would mean that a part of the table got lost.
const LEAST_FIXTURES: usize = 500;

#[test]
fn every_fixture_gives_its_reason_and_bytes_on_the_host_and_is_counted_once() {
    let fixtures = all();
    assert!(fixtures.len() >= LEAST_FIXTURES, "only {} fixtures", fixtures.len());
    let mut faults = Vec::new();
    for fixture in &fixtures {
        let tables = tables(fixture.sources);
        let (verdict, frame) = run_on_host(&fixture.packet, &tables);
        if verdict != fixture.reason.verdict() {
            faults.push(format!("{}\n  {verdict:?}, expected {:?}", fixture.name, fixture.reason));
        } else if frame != fixture.expected {
            let (got, wanted) = (hex(&frame), hex(&fixture.expected));
            faults.push(format!("{}\n  frame    {got}\n  expected {wanted}", fixture.name));
        }
        let counted = tables.counters.into_inner();
        assert_eq!(counted, BTreeMap::from([(verdict.reason().number(), 1)]), "{}", fixture.name);
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), fixtures.len(), faults.join("\n"));
}

#[test]
fn every_fixture_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for fixture in all() {
        assert!(names.insert(fixture.name.clone()), "twice: {}", fixture.name);
    }
}

#[test]
fn fixtures_meet_every_reason_that_a_frame_can_bring_about() {
    let met: BTreeSet<DecapReason> = all().iter().map(|fixture| fixture.reason).collect();
    // The one is a driver's fault, the other depends on how the driver cuts frames.
    let not_met = [DecapReason::Inconsistent, DecapReason::HeadersSplit];
    let missing: Vec<_> =
        DecapReason::ALL.iter().filter(|reason| !met.contains(reason) && !not_met.contains(reason)).collect();
    assert!(missing.is_empty(), "no fixture for {missing:?}");
}

#[test]
fn the_documentation_lists_every_reason() {
    let text = include_str!("../../docs/decap.md");
    for number in (0..DECAP_NUMBERS).filter_map(|number| u8::try_from(number).ok()) {
        if let Some((kind, name)) = decap_name(number) {
            let row = format!("| {number} | {kind} | `{name}` |");
            assert!(text.contains(&row), "docs/decap.md has no row {row:?}");
        }
    }
}
