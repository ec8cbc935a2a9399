//! A new agent knows what the former one knew.

use anyhow::{Context, Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::{Mode, Web};
use lb_userspace::api::types::{BackendInfo, HealthState};

use super::look::SOON;
use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use crate::bed::Bed;

/// A share that is whole, among three of equal weight.
const WHOLE_PERCENT: f64 = 32.0;

fn plan(bed: &Bed) -> Result<String> {
    // A while passes before the first word of the checks, so that there is a time without one.
    let keys = format!(
        "kind = \"http\"\nport = {CHECK_PORT}\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 2\nfall = 2\ndamping = false"
    );
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    Ok(node(bed)? + &check("web", &keys) + &served("web", 80, "web", "slow_start = \"3s\"\n", &webs))
}

#[test]
fn after_a_restart_who_was_down_is_down_who_was_up_is_up_and_who_returns_starts_slowly() -> Result<()> {
    let bed = Bed::shared(3)?;
    let servers = bed.fleet.webs.iter().map(|web| Server::start(&web.host, CHECK_PORT, Says::Status(200)));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    bed.write(&plan(&bed)?)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    servers[0].say(Says::Status(503));
    bed.wait_down("web", "web1", "503")?;
    bed.wait_serving("web", &["web2", "web3"])?;
    let shares = || -> Result<Vec<f64>> {
        let all: Vec<BackendInfo> = bed.show("backend list web")?;
        Ok(all.into_iter().map(|backend| backend.slot_share_percent).collect())
    };
    let before = shares()?;
    lbd.terminate()?;

    let _second = bed.start()?;
    // Before any check can have said anything of it twice.
    let first = bed.backend("web", "web1")?;
    ensure!(first.health.state == HealthState::Down && first.slot_share_percent == 0.0, "{first:?}");
    for _ in 0..3 {
        for name in ["web2", "web3"] {
            let backend = bed.backend("web", name)?;
            ensure!(backend.health.state != HealthState::Down, "{backend:?}");
        }
        ensure!(shares()? == before, "{:?} instead of {before:?}", shares()?);
        let vip = Mode::Nat.vip_v4().into();
        bed.expect_servers_of(vip, &["web2", "web3"])?;
    }
    bed.wait_well("web", "web2")?;
    bed.wait_well("web", "web3")?;
    bed.wait_results("web", "web1", 3)?;
    ensure!(shares()? == before, "{:?} instead of {before:?}", shares()?);
    let falls: Vec<_> = bed.events()?.into_iter().filter(|event| event.kind == "backend_down").collect();
    ensure!(falls.is_empty(), "it is told again: {falls:?}");

    servers[0].say(Says::Status(200));
    let mut seen: Vec<f64> = Vec::new();
    wait_until("web1 has its whole share", SOON, || {
        let share = bed.backend("web", "web1")?.slot_share_percent;
        if seen.last() != Some(&share) {
            seen.push(share);
        }
        Ok((share >= WHOLE_PERCENT).then_some(()))
    })?;
    ensure!(seen.is_sorted(), "it grows: {seen:?}");
    let begin = seen.iter().find(|share| **share > 0.0).context("no share")?;
    ensure!(*begin < WHOLE_PERCENT && seen.len() > 3, "it starts slowly: {seen:?}");
    Ok(())
}
