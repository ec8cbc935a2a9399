//! No connection breaks when anything changes: bounded runs of `cargo xtask lab churn|drain|flood`, all forward modes at
//! once, over IPv4 and IPv6. Numbers in comments are those of the failure scenarios. Needs root.
//!
//! Role: a target of its own: cargo runs targets one after the other, and these need both processors. Always holds: one
//! runs at a time, and progress is printed with a test that fails.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::site::Mode;
use lb_tests::unbroken::{Progress, churn, drain, flood};

/// Held by the test that runs.
static TURN: Mutex<()> = Mutex::new(());

/// SYNs in a second that are a flood on any machine.
const FLOOD: u64 = 50_000;

/// Scenario 27, and a mixture of every other change.
#[test]
fn no_connection_breaks_while_backends_come_go_drain_flap_and_change_weights() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let options = churn::Options {
        connections: 1_000,
        changes: 16,
        modes: Mode::ALL.to_vec(),
        seed: churn::any_seed(),
        flow_timeout: Duration::from_secs(3),
        pace: Duration::from_millis(700),
    };
    let summary = churn::run(&options, &Progress::default())?;
    ensure!(summary.ok, "seed {}: {:#?}", summary.seed, summary);
    Ok(())
}

#[test]
fn a_drain_breaks_no_download_lets_in_no_new_connection_and_waits_for_the_last() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let options = drain::Options {
        modes: Mode::ALL.to_vec(),
        // Fifteen a pool would all miss the drained server of three once in four hundred times.
        downloads: 60,
        download_time: Duration::from_secs(8),
        flow_timeout: Duration::from_secs(2),
    };
    let summary = drain::run(&options, &Progress::default())?;
    ensure!(summary.ok, "{summary:#?}");
    Ok(())
}

/// Scenario 26.
#[test]
fn a_flood_of_syns_breaks_no_connection_and_does_not_keep_a_drain_from_its_end() -> Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let options = flood::Options {
        modes: Mode::ALL.to_vec(),
        talks: 150,
        // Fifteen a pool would all miss the drained server of three once in four hundred times.
        downloads: 60,
        time: Duration::from_secs(8),
        flow_timeout: Duration::from_secs(2),
    };
    let summary = flood::run(&options, &Progress::default())?;
    ensure!(summary.ok && summary.syns_per_second > FLOOD, "{summary:#?}");
    Ok(())
}
