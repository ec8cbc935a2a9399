//! No flow moves while it is active, whatever changes: random sequences of changes, packets and time against a simple
//! model that knows where every flow belongs (docs/flows.md).
//!
//! The agent's work (`Keeper`), the maps (`FakeDataplane`) and the datapath (`lb_common::pipeline`) are the real ones;
//! only the world around them is made here. `cargo xtask test --long` runs 100,000 sequences more;
//! `LB_FLOW_SEQUENCES` asks for another number, of each test here.

#[path = "flows/case.rs"]
mod case;
#[path = "flows/clients.rs"]
mod clients;
#[path = "flows/packet.rs"]
mod packet;
#[path = "flows/simulation.rs"]
mod simulation;
#[path = "flows/spy.rs"]
mod spy;
#[path = "flows/tally.rs"]
mod tally;
#[path = "flows/world.rs"]
mod world;

use case::Kind;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use std::cell::Cell;
use tally::Tally;

/// Sequences of a usual run, for each kind.
const USUAL: u32 = 500;
/// Sequences of a long run, for each kind.
const LONG: u32 = 50_000;
/// Steps of cutting a sequence that fails down.
const MOST_SHRINKS: u32 = 20_000;

/// Runs sequences of a kind. A failure is cut down, and its seed goes to a file that the next run begins with.
fn run(kind: Kind, name: &'static str, sequences: u32) -> Tally {
    let asked = std::env::var("LB_FLOW_SEQUENCES").ok();
    let sequences = asked.map_or(sequences, |asked| asked.parse().expect("LB_FLOW_SEQUENCES is a number"));
    let mut runner = TestRunner::new(Config {
        cases: sequences,
        max_shrink_iters: MOST_SHRINKS,
        source_file: Some(file!()),
        test_name: Some(name),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..Config::default()
    });
    let sum = Cell::new(Tally::default());
    let outcome = runner.run(&case::cases(kind), |case| {
        let mut so_far = sum.get();
        so_far += simulation::run(&case).map_err(TestCaseError::fail)?;
        sum.set(so_far);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{name}: {:?}", sum.get());
    sum.get()
}

/// Nothing is refused or thrown out, so that every promise is kept to the letter.
fn everyday(name: &'static str, sequences: u32) {
    let tally = run(Kind::Everyday, name, sequences);
    assert_eq!((tally.refusals, tally.evictions), (0, 0), "there is room and budget for all: {tally:?}");
    assert!(tally.kept_by_memory * 20 > tally.kept, "slots moved away from flows: {tally:?}");
    assert!(tally.kept > tally.unpromised, "most packets were promised their backend: {tally:?}");
    assert!(tally.forgotten_amid * 10_000 < tally.kept, "hardly any flow was excused: {tally:?}");
    assert!(tally.single_changes > tally.sequences, "moves were measured: {tally:?}");
}

/// Flow tables are small, and strangers fill them.
fn floods(name: &'static str, sequences: u32) {
    let tally = run(Kind::Floods, name, sequences);
    assert!(tally.refusals > tally.sequences, "floods were refused: {tally:?}");
    assert!(tally.kept > tally.unpromised, "most packets were promised their backend: {tally:?}");
    assert!(tally.kept_by_memory * 20 > tally.kept, "slots moved away from flows: {tally:?}");
    assert!(
        (tally.evicted_flows + tally.forgotten_amid) * 10_000 < tally.kept,
        "hardly any flow was excused: {tally:?}"
    );
    // One sequence may throw out many, and few sequences must not fail for it.
    assert!(tally.evictions * 25 < tally.sequences + 1_000, "floods are kept from filling tables: {tally:?}");
}

#[test]
fn flows_stay_whatever_changes() {
    everyday("flows_stay_whatever_changes", USUAL);
}

#[test]
fn flows_stay_in_floods() {
    floods("flows_stay_in_floods", USUAL);
}

#[test]
#[ignore = "takes minutes"]
fn flows_stay_whatever_changes_at_length() {
    everyday("flows_stay_whatever_changes_at_length", LONG);
}

#[test]
#[ignore = "takes minutes"]
fn flows_stay_in_floods_at_length() {
    floods("flows_stay_in_floods_at_length", LONG);
}
