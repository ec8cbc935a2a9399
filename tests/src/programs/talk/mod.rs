//! `lb-lab talk`: a client that holds many connections to `lb-lab echo` through the load balancer, and says which broke.
//!
//! Three kinds of connections: *talks* last and exchange a line every second or two; *downloads* read for as long as the
//! server sends; *visits* are new connections all along, of one exchange each. A connection is broken when it is refused,
//! reset, closed, silent for [`PATIENCE`], or answered by another server than before. Imports `control`.
//! Always holds: what the client ends itself, as it was told to, is not broken.

mod connection;
mod report;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

pub use connection::PATIENCE;
pub use report::{Download, Failure, Report, Tally, Visit};

use super::control;
use connection::Client;

/// What it prints when it begins.
pub const READY: &str = "lb-lab talk: ready";

/// Control request: a [`Report`].
pub const REPORT: &str = "report";

/// Control request: every visit that has ended, as a list of [`Visit`].
pub const VISITS: &str = "visits";

/// Control request: every download, as a list of [`Download`].
pub const DOWNLOADS: &str = "downloads";

/// Control request: make no more visits.
pub const NO_VISITS: &str = "no-visits";

/// Control request: end every talk and download, and make no more visits.
pub const STOP: &str = "stop";

/// Control request, followed by a blank and the name of a server: end the talks and downloads with it.
pub const LEAVE: &str = "leave";

/// New talks and downloads in a second.
const OPENED_PER_SECOND: u32 = 2_000;

/// Visits under way at once; the next ones wait.
const MAX_OPEN_VISITS: usize = 2_000;

/// Descriptors for everything but connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to connect to, in turn.
    pub servers: Vec<SocketAddr>,
    /// Connections that last.
    pub talks: u32,
    /// Downloads.
    pub downloads: u32,
    /// Bytes of each.
    pub download_bytes: u64,
    /// Time that the server takes for each.
    pub download_time: Duration,
    /// New connections of one exchange each, in a second.
    pub visits_per_second: u32,
    /// Where the pauses of the talks come from.
    pub seed: u64,
}

/// Does it until it is ended by a signal.
///
/// # Errors
/// When it can not listen at `control`, or there is nobody to connect to.
pub fn talk(plan: &Plan, control: &Path) -> Result<()> {
    ensure!(!plan.servers.is_empty(), "nobody to talk to: give --server");
    let limit = control::raise_descriptor_limit()?;
    let most = u64::from(plan.talks) + u64::from(plan.downloads) + MAX_OPEN_VISITS as u64 + SPARE_DESCRIPTORS;
    ensure!(
        most <= limit,
        "{most} descriptors are needed, and {limit} allowed: raise the hard limit (ulimit -Hn)"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Arc::new(Client::default());
        tokio::spawn(open_all(plan.clone(), Arc::clone(&client)));
        tokio::spawn(visit_all(plan.clone(), Arc::clone(&client)));
        println!("{READY}");
        control::serve(control, |request| answer(&client, request)).await
    })
}

fn answer(client: &Client, request: &str) -> Result<String> {
    match request.split_once(' ').unwrap_or((request, "")) {
        (REPORT, _) => return Ok(serde_json::to_string(&client.book().report)?),
        (VISITS, _) => return Ok(serde_json::to_string(&client.book().visits)?),
        (DOWNLOADS, _) => return Ok(serde_json::to_string(&client.book().downloads)?),
        (NO_VISITS, _) => client.orders.send_modify(|orders| orders.no_visits = true),
        (STOP, _) => client.orders.send_modify(|orders| {
            orders.no_visits = true;
            orders.stop = true;
        }),
        (LEAVE, name) => client.orders.send_modify(|orders| {
            orders.leave.insert(name.to_owned());
        }),
        _ => bail!("unknown request"),
    }
    Ok(String::new())
}

/// Opens talks and downloads, at a pace that no server's accept queue minds.
async fn open_all(plan: Plan, client: Arc<Client>) {
    let mut pace = interval(Duration::from_secs(1) / OPENED_PER_SECOND);
    let mut servers = plan.servers.iter().copied().cycle();
    let mut random = fastrand::Rng::with_seed(plan.seed);
    for number in 0..u64::from(plan.talks) + u64::from(plan.downloads) {
        pace.tick().await;
        let (Some(server), client) = (servers.next(), Arc::clone(&client)) else { return };
        if number < u64::from(plan.downloads) {
            let (bytes, time) = (plan.download_bytes, plan.download_time);
            tokio::spawn(async move { client.download(server, bytes, time).await });
        } else {
            let pauses = fastrand::Rng::with_seed(random.u64(..));
            tokio::spawn(async move { client.talk(server, pauses).await });
        }
    }
}

/// Makes visits until it is told to stop.
async fn visit_all(plan: Plan, client: Arc<Client>) {
    if plan.visits_per_second == 0 {
        return;
    }
    let mut pace = interval(Duration::from_secs(1) / plan.visits_per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(MAX_OPEN_VISITS));
    for server in plan.servers.iter().copied().cycle() {
        pace.tick().await;
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        if client.orders.borrow().no_visits {
            return;
        }
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            client.visit(server).await;
            drop(place);
        });
    }
}
