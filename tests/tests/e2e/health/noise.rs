//! What is slow but in time, and what is bad now and then, disturbs nobody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_userspace::api::types::{BackendInfo, HealthState};

use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use crate::bed::Bed;

/// Time that the slow server has: so much that the machine may stand still for a part of it.
const TIMEOUT: Duration = Duration::from_millis(700);

/// Most of that time.
const SLOW: Duration = Duration::from_millis(420);

/// More than that time.
const TOO_SLOW: Duration = Duration::from_millis(1_200);

/// Results of a slow server that say that it is well.
const SLOW_RESULTS: u64 = 10;

/// Results of a server that says this and that in turn.
const MIXED_RESULTS: u64 = 32;

fn plan(bed: &Bed) -> Result<String> {
    let (slow_ms, slow_port, mixed_port) = (TIMEOUT.as_millis(), CHECK_PORT, CHECK_PORT + 1);
    let slow = format!(
        "kind = \"http\"\nport = {slow_port}\ninterval = \"{slow_ms}ms\"\ntimeout = \"{slow_ms}ms\"\nrise = 2\nfall = 2"
    );
    let mixed = format!(
        "kind = \"http\"\nport = {mixed_port}\ninterval = \"250ms\"\ntimeout = \"250ms\"\nrise = 2\nfall = 2"
    );
    let webs: Vec<_> = bed.fleet.webs.iter().collect();
    Ok(node(bed)?
        + &check("slow", &slow)
        + &check("mixed", &mixed)
        + &served("slow", 80, "slow", "", &webs)
        + &served("mixed", 81, "mixed", "", &webs))
}

#[test]
fn a_server_near_its_timeout_stays_and_one_that_is_well_every_other_time_moves_nothing() -> Result<()> {
    let bed = Bed::shared(2)?;
    let start = |port: u16, says: Says| {
        bed.fleet.webs.iter().map(move |web| Server::start(&web.host, port, says.clone()))
    };
    let slow = start(CHECK_PORT, Says::Status(200)).collect::<Result<Vec<_>>>()?;
    let mixed = start(CHECK_PORT + 1, Says::Status(200)).collect::<Result<Vec<_>>>()?;
    bed.write(&plan(&bed)?)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    // The slots come before the word of it.
    for subject in ["slow/web1", "slow/web2", "mixed/web1", "mixed/web2"] {
        bed.wait_event(subject, "up after")?;
    }
    let shares = |bed: &Bed| -> Result<Vec<(String, f64)>> {
        let all: Vec<BackendInfo> = bed.show("backend list")?;
        Ok(all.into_iter().map(|it| (format!("{}/{}", it.pool, it.name), it.slot_share_percent)).collect())
    };
    let moved = |bed: &Bed| -> Result<u64> {
        let flows = bed.status()?.flows;
        Ok(flows.slots_learning + flows.slots_tracked)
    };
    let (shares_before, moved_before, events_before) = (shares(&bed)?, moved(&bed)?, bed.events()?.len());
    slow[0].say(Says::After(SLOW));
    mixed[0].say(Says::InTurn);
    let results = |pool: &str| -> Result<u64> {
        let check = bed.detail(pool, "web1")?.check.context("no check")?;
        Ok(check.good + check.bad)
    };
    let (slow_results, mixed_results) = (results("slow")?, results("mixed")?);
    bed.wait_results("slow", "web1", slow_results + SLOW_RESULTS)?;
    bed.wait_results("mixed", "web1", mixed_results + MIXED_RESULTS)?;

    let check = bed.detail("mixed", "web1")?.check.context("no check")?;
    ensure!(check.bad >= MIXED_RESULTS / 3 && check.good >= MIXED_RESULTS / 3, "{check:?}");
    let latency = Duration::from_micros(bed.backend("slow", "web1")?.health.last_latency_us.context("none")?);
    ensure!(latency >= SLOW && latency < TIMEOUT, "{latency:?}");
    let events = bed.events()?;
    ensure!(events.len() == events_before, "{events:#?}");
    ensure!(shares(&bed)? == shares_before, "{:?} instead of {shares_before:?}", shares(&bed)?);
    ensure!(moved(&bed)? == moved_before, "slots have moved");

    slow[0].say(Says::After(TOO_SLOW));
    bed.wait_down("slow", "web1", "no answer to the request within 700ms")?;
    let event = bed.wait_event("slow/web1", "700ms")?;
    ensure!(event.message.contains("2 results in a row"), "{event:?}");
    bed.wait_serving("slow", &["web2"])?;
    ensure!(bed.backend("mixed", "web1")?.health.state == HealthState::Up);
    Ok(())
}
