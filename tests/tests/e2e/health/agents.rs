//! What an agent beside a server says of its weight and state comes true.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::{Mode, Web};
use lb_userspace::api::types::HealthState;

use super::look::SOON;
use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use super::talk::Talk;
use crate::bed::Bed;

/// How far a share of the slots may be off, in percent.
const TABLE_ERROR_PERCENT: f64 = 1.0;

fn plan(bed: &Bed) -> Result<String> {
    let keys = format!(
        "kind = \"agent\"\nsend = \"how are you?\"\nport = {CHECK_PORT}\ninterval = \"200ms\"\ntimeout = \"200ms\"\n\
         damping = false"
    );
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    Ok(node(bed)? + &check("agent", &keys) + &served("web", 80, "agent", "", &webs))
}

fn wait_share(bed: &Bed, wanted: f64) -> Result<()> {
    let what = format!("has {wanted:.1} % of the slots");
    bed.wait_backend("web", "web1", &what, |web1| {
        (web1.slot_share_percent - wanted).abs() <= TABLE_ERROR_PERCENT
    })
    .map(drop)
}

#[test]
fn the_words_of_an_agent_decide_weight_new_connections_and_old_ones() -> Result<()> {
    let bed = Bed::shared(2)?;
    let line = |text: &str| Says::Line(text.to_owned());
    let agents = bed.fleet.webs.iter().map(|web| Server::start(&web.host, CHECK_PORT, line("up ready 100%")));
    let agents = agents.collect::<Result<Vec<_>>>()?;
    bed.write(&plan(&bed)?)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let vip = IpAddr::from(Mode::Nat.vip_v4());
    wait_share(&bed, 50.0)?;
    let mut talk = Talk::with(&bed, vip, "web1")?;

    agents[0].say(line("75%"));
    wait_share(&bed, 100.0 * 75.0 / 175.0)?;
    // A weight alone is no event: agents that tell their load would fill the list.
    let detail = bed.backend("web", "web1")?.health.detail;
    ensure!(detail.as_deref() == Some("wants 75 % of its weight"), "{detail:?}");
    ensure!(
        bed.events_of("web/web1")?.iter().all(|event| event.kind != "backend_changed"),
        "an event of its weight"
    );
    talk.goes_on()?;

    agents[0].say(line("drain"));
    bed.wait_serving("web", &["web2"])?;
    bed.expect_servers_of(vip, &["web2"])?;
    talk.goes_on()?;
    let web1 = bed.backend("web", "web1")?;
    ensure!(web1.health.state == HealthState::Up, "{web1:?}");

    agents[0].say(line("maint"));
    bed.wait_event("web/web1", "maintenance")?;
    wait_until("the connection is given up", SOON, || Ok(talk.ask().is_err().then_some(())))?;
    bed.expect_servers_of(vip, &["web2"])?;

    agents[0].say(line("down # its disk is full"));
    bed.wait_down("web", "web1", "its disk is full")?;
    agents[0].say(line("ready"));
    wait_share(&bed, 50.0)?;
    bed.expect_servers_of(vip, &["web1", "web2"])?;

    // All of them draining is all of them gone: that was their wish.
    for agent in &agents {
        agent.say(line("drain"));
    }
    bed.wait_serving("web", &[])?;
    bed.wait_event("pool web", "new connections are refused")?;
    bed.expect_in_status(&["pool web: 0 of 2 backends are fit to serve"])
}
