//! The node's configuration names the interface of the clients, and not that of the backends.
//!
//! What is sent out of an interface without the program arrives only where the driver takes redirected frames all the same:
//! veth does while the other end polls, as the ends of a lab's links do (GRO is on).

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::site::{Mode, NODE_FRONT};

use super::configuration::{Served, serve};
use crate::bed::{Bed, SOON};

/// Time for a request that nobody answers.
const UNANSWERED: Duration = Duration::from_millis(500);

#[test]
fn direct_modes_serve_with_only_the_clients_interface_named_and_nat_does_not() -> Result<()> {
    let bed = Bed::shared(1)?;
    let web = &bed.fleet.webs[0];
    let backends: [[IpAddr; 1]; 2] = [[web.v4.into()], [web.v6.into()]];
    let services: Vec<_> = Mode::ALL
        .into_iter()
        .flat_map(|mode| mode.vips().map(|vip| (mode.name(), vip)))
        .zip(backends.iter().cycle())
        .map(|((mode, vip), backends)| Served::web(mode, vip, backends))
        .collect();
    let _lbd = serve(&bed, &[NODE_FRONT], "assign", &services)?;
    for mode in Mode::ALL {
        for vip in mode.vips() {
            let what = || format!("{} at {vip}", mode.name());
            if mode.is_direct() {
                let response = bed.fleet.get(vip, SOON).with_context(what)?;
                ensure!(response.status == 200, "{}: {}", what(), response.status);
            } else {
                // The backend's replies come in where the program is not, and keep the backend's address.
                ensure!(bed.fleet.get(vip, UNANSWERED).is_err(), "{}: replies came back", what());
            }
        }
    }
    Ok(())
}
