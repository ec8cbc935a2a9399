//! Who goes down again and again is kept out while others serve.

use anyhow::{Result, ensure};
use lb_tests::site::Web;
use lb_userspace::api::types::HealthState;

use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use crate::bed::Bed;

/// Falls in quick succession that hold a backend.
const FALLS: usize = 4;

fn plan(bed: &Bed) -> Result<String> {
    let keys = format!(
        "kind = \"http\"\nport = {CHECK_PORT}\ninterval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n"
    );
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    Ok(node(bed)?
        + &check("damped", &keys)
        + &check("undamped", &(keys.clone() + "damping = false"))
        + &served("damped", 80, "damped", "", &webs)
        + &served("undamped", 81, "undamped", "", &webs))
}

#[test]
fn a_server_that_flaps_is_held_out_while_others_serve_unless_damping_is_off() -> Result<()> {
    let bed = Bed::shared(2)?;
    let servers = bed.fleet.webs.iter().map(|web| Server::start(&web.host, CHECK_PORT, Says::Status(200)));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    bed.write(&plan(&bed)?)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for fall in 0..FALLS {
        if fall > 0 {
            let web1 = bed.backend("damped", "web1")?;
            ensure!(web1.health.held_seconds == 0, "held after {fall} falls: {web1:?}");
        }
        servers[0].say(Says::Status(500));
        bed.wait_down("damped", "web1", "500")?;
        bed.wait_down("undamped", "web1", "500")?;
        servers[0].say(Says::Status(200));
        bed.wait_well("damped", "web1")?;
        bed.wait_well("undamped", "web1")?;
    }
    bed.wait_event("damped/web1", "kept out for")?;
    let held = bed.backend("damped", "web1")?;
    ensure!(held.health.held_seconds > 0 && held.health.state == HealthState::Up, "{held:?}");
    bed.wait_serving("damped", &["web2"])?;
    bed.wait_serving("undamped", &["web1", "web2"])?;
    let free = bed.backend("undamped", "web1")?;
    ensure!(free.health.held_seconds == 0, "{free:?}");
    let shown = bed.edit("backend show damped/web1")?;
    ensure!(shown.contains("went down too often"), "{shown}");

    // Better one that flaps than nobody.
    servers[1].say(Says::Status(500));
    bed.wait_serving("damped", &["web1"])?;
    bed.wait_serving("undamped", &["web1"])?;
    bed.expect_servers_of(lb_tests::site::Mode::Nat.vip_v4().into(), &["web1"])?;
    servers[1].say(Says::Status(200));
    bed.wait_serving("damped", &["web2"])?;
    bed.wait_serving("undamped", &["web1", "web2"])
}
