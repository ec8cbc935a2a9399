//! A server that fails loses its share within interval × fall + timeout, however it fails.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::nginx::Nginx;
use lb_userspace::api::types::HealthState;

use crate::bed::{Bed, SOON, vip_of_each_mode};
use crate::load::{Load, Request};

/// Of the check in the site's configuration: 3 × 200 ms + 200 ms.
const DETECTION: Duration = Duration::from_millis(800);

/// For the scheduling of agent, servers and clients on two processors, and the clients' pause.
const MEASURING: Duration = Duration::from_millis(400);

/// Time that a client waits for an answer: short, so that it asks several times before the share moves.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers of each VIP that show where traffic goes.
const ANSWERS: usize = 200;

/// Breaks `web2` under load and checks that requests started after the bound are served by the others.
fn expect_share_moves(fault: impl FnOnce(&Bed, &[Nginx]) -> Result<()>) -> Result<(Vec<Request>, Instant)> {
    let bed = Bed::without_servers(3)?;
    let fleet = bed.nginx_on_every_web()?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let load = Load::start(&bed.fleet.client, &vip_of_each_mode(), PATIENCE);
    load.wait_for_answers(ANSWERS, Instant::now())?;
    let broken = Instant::now();
    fault(&bed, &fleet)?;
    let bound = broken + DETECTION + MEASURING;
    load.wait_for_answers(ANSWERS, bound)?;
    let requests = load.stop()?;
    for vip in vip_of_each_mode() {
        let before = requests.iter().filter(|request| request.vip == vip && request.ended < broken);
        ensure!(before.clone().any(|request| request.served_by("web2")), "{vip}: web2 had no share");
        ensure!(before.clone().all(|request| request.outcome.is_ok()), "{vip}: failures before the fault");
    }
    let wrong = |request: &&Request| request.outcome.is_err() || request.served_by("web2");
    let late: Vec<_> = requests.iter().filter(|request| request.started >= bound).filter(wrong).collect();
    let last_late = late.last().map(|request| request.started - bound);
    ensure!(
        late.is_empty(),
        "{} requests up to {last_late:?} after the bound: {:?}",
        late.len(),
        late.first()
    );
    let last = requests.iter().filter(wrong).map(|request| request.started).max();
    println!(
        "the last request to the broken server began {:?} after the fault",
        last.map(|last| last - broken)
    );
    Ok((requests, broken))
}

/// Scenario 36.
#[test]
fn the_share_of_a_killed_nginx_moves_to_the_others() -> Result<()> {
    let (requests, broken) = expect_share_moves(|_, fleet| fleet[1].kill())?;
    ensure!(requests.iter().any(|request| request.outcome.is_err()), "nothing failed: was it killed?");
    // Its host refuses connections at once, so nobody waits.
    let failed = requests.iter().filter(|request| request.outcome.is_err() && request.started > broken);
    let slow = failed.clone().find(|request| request.elapsed() > MEASURING);
    ensure!(slow.is_none(), "{slow:?}");
    Ok(())
}

/// Scenario 37.
#[test]
fn the_share_of_an_unreachable_server_moves_to_the_others() -> Result<()> {
    expect_share_moves(|bed, _| bed.fleet.webs[1].link.cut()).map(drop)
}

/// Scenario 38. The server goes on answering, so only what was under way when its share moved may break.
#[test]
fn the_share_of_a_server_whose_health_page_fails_moves_to_the_others() -> Result<()> {
    let (requests, _) = expect_share_moves(|_, fleet| fleet[1].fall_sick())?;
    let failed: Vec<_> = requests.iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.len() <= vip_of_each_mode().len(), "{failed:?}");
    Ok(())
}

/// Scenario 39.
#[test]
fn the_share_of_a_server_that_accepts_and_never_answers_moves_to_the_others() -> Result<()> {
    expect_share_moves(|_, fleet| fleet[1].freeze()).map(drop)
}

#[test]
fn a_server_that_comes_back_gets_its_share_back_and_lbctl_says_so() -> Result<()> {
    let mut bed = Bed::shared(3)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    bed.fleet.webs[1].kill_server()?;
    // The check's word comes before the slots, by the time that it takes to rebuild the tables.
    let web2 = wait_until("web2 is down and has no slots", SOON, || {
        let web2 = bed.backend("nat-v4", "web2")?;
        Ok((web2.health.state == HealthState::Down && web2.slot_share_percent == 0.0).then_some(web2))
    })?;
    ensure!(web2.health.reason.as_deref().is_some_and(|reason| reason.contains("refused")), "{web2:?}");
    bed.wait_moved("web2")?;
    bed.expect_servers(&["web1", "web3"])?;
    bed.fleet.webs[1].start_server()?;
    bed.wait_up()?;
    bed.expect_servers(&["web1", "web2", "web3"])
}
