//! Tests of the state machine: its whole table, hysteresis, and an oracle over whole histories.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::health::probe::Stage;

fn good() -> Event {
    Event::Good(Duration::from_millis(3).into())
}

fn bad() -> Event {
    let address = "192.0.2.1:80".parse().unwrap();
    Event::Bad(ProbeError::TimedOut { address, stage: Stage::Connect, timeout: Duration::from_millis(500) })
}

fn inconclusive() -> Event {
    let address = "192.0.2.1:80".parse().unwrap();
    Event::Inconclusive(ProbeError::TooManyOpenFiles { address, detail: "EMFILE".to_owned() })
}

/// The change of state that an event makes.
fn step(machine: &mut Machine, event: Event, now: Instant) -> Option<Transition> {
    machine.on_event(event, now).transition
}

/// A machine with rise 2 and fall 3 in `health` after `streak`, made without passing through other states.
fn machine(health: Health, streak: Streak, now: Instant) -> Machine {
    let mut machine = Machine::new(2, 3, health, now);
    machine.status.streak = streak;
    machine
}

#[test]
fn every_state_and_event_does_what_the_table_says() {
    use Health::{Down, Unknown, Up};
    // (state, streak before, good leads to, bad leads to), with rise 2 and fall 3. Streaks that a state cannot
    // have at rest (such as up after 3 bad results) are left out.
    let table = [
        (Unknown, Streak::None, Up, Unknown),
        (Unknown, Streak::Bad(1), Up, Unknown),
        (Unknown, Streak::Bad(2), Up, Down),
        (Up, Streak::None, Up, Up),
        (Up, Streak::Good(1), Up, Up),
        (Up, Streak::Good(2), Up, Up),
        (Up, Streak::Good(u32::MAX), Up, Up),
        (Up, Streak::Bad(1), Up, Up),
        (Up, Streak::Bad(2), Up, Down),
        (Down, Streak::None, Down, Down),
        (Down, Streak::Good(1), Up, Down),
        (Down, Streak::Bad(1), Down, Down),
        (Down, Streak::Bad(3), Down, Down),
        (Down, Streak::Bad(u32::MAX), Down, Down),
    ];
    let start = Instant::now();
    let now = start + Duration::from_secs(7);
    for (from, streak, after_good, after_bad) in table {
        for (event, to) in [(good(), after_good), (bad(), after_bad), (inconclusive(), from)] {
            let mut machine = machine(from, streak, start);
            let transition = step(&mut machine, event.clone(), now);
            let case = format!("{from} after {streak:?}, then {event}");
            assert_eq!(machine.health(), to, "{case}");
            assert_eq!(machine.status().since, if from == to { start } else { now }, "{case}");
            assert_eq!(machine.status().last_result, Some(LastResult { at: now, event }), "{case}");
            assert_eq!(transition.is_some(), from != to, "{case}");
            if let Some(transition) = transition {
                assert_eq!((transition.from, transition.to), (from, to), "{case}");
                assert_eq!((transition.at, transition.lasted), (now, Duration::from_secs(7)), "{case}");
            }
        }
    }
}

#[test]
fn streaks_grow_with_like_results_and_start_over_with_the_other_kind() {
    let start = Instant::now();
    // (before, after good, after bad)
    let table = [
        (Streak::None, Streak::Good(1), Streak::Bad(1)),
        (Streak::Good(4), Streak::Good(5), Streak::Bad(1)),
        (Streak::Bad(4), Streak::Good(1), Streak::Bad(5)),
        (Streak::Good(u32::MAX), Streak::Good(u32::MAX), Streak::Bad(1)),
        (Streak::Bad(u32::MAX), Streak::Good(1), Streak::Bad(u32::MAX)),
    ];
    for health in [Health::Unknown, Health::Up, Health::Down] {
        for (before, after_good, after_bad) in table {
            for (event, after) in [(good(), after_good), (bad(), after_bad), (inconclusive(), before)] {
                let mut machine = machine(health, before, start);
                step(&mut machine, event.clone(), start);
                assert_eq!(machine.status().streak, after, "{health}, {before:?}, {event}");
            }
        }
    }
}

#[test]
fn the_reason_names_the_count_and_the_last_error() {
    let start = Instant::now();
    let mut machine = Machine::new(1, 3, Health::Up, start);
    let changes: Vec<_> = (0..3).filter_map(|_| step(&mut machine, bad(), start)).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        changes[0].reason,
        "3 results in a row, the last: 192.0.2.1:80: no TCP connection within 500ms"
    );
    let up = step(&mut machine, good(), start).unwrap();
    assert_eq!(up.reason, "answered in 3.0ms");
}

#[test]
fn counts_and_latency_are_kept_through_changes() {
    let start = Instant::now();
    let mut machine = Machine::new(1, 1, Health::Unknown, start);
    for event in [good(), bad(), inconclusive(), inconclusive(), good(), bad()] {
        step(&mut machine, event, start);
    }
    assert_eq!(machine.status().counts, Counts { good: 2, bad: 2, inconclusive: 2 });
    assert_eq!(machine.status().last_latency, Some(Duration::from_millis(3)));
}

#[test]
fn a_clock_that_steps_back_is_no_panic() {
    let now = Instant::now();
    let mut machine = Machine::new(1, 1, Health::Up, now + Duration::from_secs(5));
    let change = step(&mut machine, bad(), now).unwrap();
    assert_eq!(change.lasted, Duration::ZERO);
}

proptest! {
    #[test]
    fn alternating_results_never_flap(
        rise in 2_u32..=100, fall in 2_u32..=100, up in any::<bool>(), first_good in any::<bool>(),
    ) {
        let start = Instant::now();
        let initial = if up { Health::Up } else { Health::Down };
        let mut machine = Machine::new(rise, fall, initial, start);
        for turn in 0..500 {
            let event = if (turn % 2 == 0) == first_good { good() } else { bad() };
            prop_assert_eq!(step(&mut machine, event, start), None);
        }
    }

    /// Against a direct reading of the rule: look back over the whole history.
    #[test]
    fn a_change_needs_a_whole_run_of_results(
        rise in 1_u32..5, fall in 1_u32..5, history in prop::collection::vec(0_u8..3, 0..60),
    ) {
        let start = Instant::now();
        let mut machine = Machine::new(rise, fall, Health::Unknown, start);
        let mut conclusive: Vec<bool> = Vec::new();
        let mut expected = Health::Unknown;
        for result in history {
            let event = [bad(), good(), inconclusive()][usize::from(result)].clone();
            if result < 2 {
                conclusive.push(result == 1);
            }
            let last = |count: u32, good: bool| {
                let tail = conclusive.iter().rev().take(count as usize);
                conclusive.len() >= count as usize && tail.copied().all(|result| result == good)
            };
            if result == 0 && last(fall, false) {
                expected = Health::Down;
            }
            if result == 1 && (expected == Health::Unknown || last(rise, true)) {
                expected = Health::Up;
            }
            step(&mut machine, event, start);
            prop_assert_eq!(machine.health(), expected);
        }
    }
}

#[test]
fn who_goes_down_too_often_is_held_and_told_so_and_let_go_in_time() {
    let start = Instant::now();
    let mut machine = Machine::new(1, 1, Health::Up, start).damped(start);
    let mut last_reason = String::new();
    for turn in 0..4 {
        let now = start + Duration::from_secs(turn);
        assert_eq!(machine.status().held_for(now), Duration::ZERO, "fall {turn}");
        last_reason = step(&mut machine, bad(), now).unwrap().reason;
        step(&mut machine, good(), now).unwrap();
    }
    let now = start + Duration::from_secs(3);
    assert!(last_reason.contains("it went down too often and is kept out for"), "{last_reason}");
    assert_eq!(machine.health(), Health::Up, "its health is what it is");
    let held_for = machine.status().held_for(now);
    assert!(held_for > Duration::from_mins(1), "{held_for:?}");
    assert_eq!(machine.status().held_for(now + held_for), Duration::ZERO);
    let undamped = Machine::new(1, 1, Health::Up, start);
    assert_eq!(undamped.status().held_until, None);
}

#[test]
fn the_last_ten_results_are_kept() {
    let start = Instant::now();
    let mut machine = Machine::new(1, 1, Health::Up, start);
    for turn in 0..25 {
        step(&mut machine, if turn % 2 == 0 { good() } else { bad() }, start + Duration::from_secs(turn));
    }
    let seconds: Vec<u64> = machine.history().map(|result| (result.at - start).as_secs()).collect();
    assert_eq!(seconds, (15..25).collect::<Vec<_>>());
}

#[test]
fn what_a_good_answer_says_is_kept_and_told_where_it_decides() {
    use crate::health::finding::Database;
    let start = Instant::now();
    let mut machine = Machine::new(1, 3, Health::Unknown, start);
    let mut answer = |writable, lag_s| {
        let database = Some(Database { writable, lag: Some(Duration::from_secs(lag_s)) });
        let findings = Findings { database, ..Findings::default() };
        machine
            .on_event(Event::Good(Answer { latency: Duration::ZERO, findings }), start)
            .became
            .map(|became| became.says)
    };
    assert_eq!(answer(false, 1), Some("read-only, 1 s behind its source".to_owned()));
    assert_eq!(answer(false, 2), None, "the lag alone does not decide");
    assert_eq!(answer(true, 0), Some("writable, 0 s behind its source".to_owned()));
    let kept = |machine: &Machine| machine.status().findings.database.map(|database| database.writable);
    assert!(machine.on_event(bad(), start).is_none());
    assert_eq!(kept(&machine), Some(true), "a bad result says nothing of the role");
}
