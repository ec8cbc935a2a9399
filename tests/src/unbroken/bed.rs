//! A site with an agent, servers that echo, and a client with many connections.
//!
//! Imports `lab`, `site`, `programs`, `members`, `lane`, `slots`.
//! Always holds: the agent is used through `lbctl` and its configuration file only, as an operator uses it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::lane::Lane;
use super::members::{Members, web_name};
use super::slots::SlotTables;
use crate::agent::{self, Lbctl};
use crate::bins;
use crate::lab::{Output, Process, wait_until};
use crate::programs::{control, echo, talk};
use crate::site::{HTTP_PORT, NODE_BACK, NODE_FRONT, WebFleet};

/// Port of the servers' health page.
const CHECK_PORT: u16 = 8_080;

/// Time from one health check to the next; also the longest that one may take.
const CHECK_INTERVAL: Duration = Duration::from_millis(300);

/// Entries of the flow table in the labs.
const FLOW_ENTRIES: u32 = 524_288;

/// Time before the end of learning in which slots settle, at most; no more than the pool's `flow_timeout`.
pub const SETTLING: Duration = Duration::from_secs(5);

/// Time for what should happen at once on an idle machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// Time between two looks with `lbctl`: the connections need the processors too.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Time that a command of ours may take, apart from those that wait.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// What a lab needs of the site.
pub(super) struct Layout {
    /// Web servers there are.
    pub webs: u8,
    /// Those that are backends at the start.
    pub members: usize,
    /// The VIPs that are served.
    pub lanes: Vec<Lane>,
    /// The pools' `flow_timeout`.
    pub flow_timeout: Duration,
}

/// A running site.
pub(super) struct Bed {
    // Dropped in this order: the agent before the namespaces that it works in.
    lbd: Process,
    /// What the configuration says.
    pub members: Members,
    /// Time after which an idle flow is forgotten.
    pub flow_timeout: Duration,
    servers: Vec<Server>,
    config: PathBuf,
    socket: PathBuf,
    lbctl: Lbctl,
    bpffs: PathBuf,
    /// The site.
    pub fleet: WebFleet,
}

struct Server {
    control: PathBuf,
    _process: Process,
}

/// A running client.
pub(super) struct Client {
    control: PathBuf,
    process: Process,
}

/// A backend, as far as the labs look at it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Backend {
    pub pool: String,
    pub name: String,
    pub health: Health,
    #[serde(default)]
    pub slot_share_percent: f64,
    #[serde(default)]
    pub remembered_flows: u64,
    #[serde(default)]
    pub drained: bool,
}

/// What its check says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Health {
    pub state: String,
}

/// What the agent says of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Flows {
    /// Entries there are; 0 when the agent says nothing of a flow table.
    pub capacity: u64,
    /// Entries in use.
    pub entries: u64,
    /// Flows that were recorded.
    pub recorded: u64,
    /// Packets whose flow was found.
    pub hits: u64,
    /// Entries that the kernel threw out to make room.
    pub evicted: u64,
    /// SYNs that were not recorded.
    pub refused_opening: u64,
    /// Packets of established connections whose flow was not recorded.
    pub refused_established: u64,
    /// Slots whose old flows are still being recorded.
    pub slots_learning: u64,
    /// Slots whose old flows are recorded and not all over.
    pub slots_tracked: u64,
}

impl Flows {
    /// Whether no slot remembers anything.
    pub fn is_settled(&self) -> bool {
        self.slots_learning == 0 && self.slots_tracked == 0
    }
}

impl Bed {
    /// Makes the site; returns when every backend is up.
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let mut fleet = WebFleet::new(layout.webs)?;
        // Room for as many connections to one VIP as a client can have.
        fleet.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        let servers =
            (0..fleet.webs.len()).map(|web| Server::start(&mut fleet, web)).collect::<Result<_>>()?;
        let dir = fleet.lab.dir();
        let (config, socket) = (dir.join("lb.toml"), dir.join("lbd.sock"));
        let bpffs = fleet.node.bpffs()?.join("lb");
        let members = Members::new(&layout.lanes, layout.members);
        fs::write(&config, config_text(&fleet, &members, layout.flow_timeout, &socket, &bpffs))?;
        let lbd = agent::start(&fleet.node, agent::lbd("run", &config)?, SOON)?;
        let lbctl = Lbctl::new(&fleet.node, &socket, COMMAND_TIMEOUT);
        let flow_timeout = layout.flow_timeout;
        let bed = Self { lbd, members, flow_timeout, servers, config, socket, lbctl, bpffs, fleet };
        bed.wait_served().with_context(|| bed.lbd.log_tail())?;
        Ok(bed)
    }

    /// Runs `lbctl` with these words.
    pub(super) fn lbctl(&self, words: &str, timeout: Duration) -> Result<Output> {
        self.lbctl.run_within(words, timeout)
    }

    /// Runs `lbctl` with these words; it must succeed.
    pub(super) fn edit(&self, words: &str) -> Result<String> {
        self.lbctl.print(words)
    }

    /// Every backend.
    pub(super) fn backends(&self) -> Result<Vec<Backend>> {
        ensure!(self.lbd.is_alive(), "lbd has ended by itself: {}", self.lbd.log_tail());
        self.lbctl.show("backend list")
    }

    /// The flow table.
    pub(super) fn flows(&self) -> Result<Flows> {
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            flows: Flows,
        }
        Ok(self.lbctl.show::<Status>("status")?.flows)
    }

    /// Number of the configuration in force.
    pub(super) fn generation(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Status {
            config: Config,
        }
        #[derive(Deserialize)]
        struct Config {
            generation: u64,
        }
        Ok(self.lbctl.show::<Status>("status")?.config.generation)
    }

    /// New connections that the datapath has seen, to all services.
    pub(super) fn new_connections(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Service {
            new_connections: u64,
        }
        Ok(self
            .lbctl
            .show::<Vec<Service>>("service list")?
            .iter()
            .map(|service| service.new_connections)
            .sum())
    }

    /// The slot table of every lane.
    pub(super) fn slot_tables(&self) -> Result<BTreeMap<Lane, Vec<u32>>> {
        let tables = SlotTables::open(&self.bpffs)?;
        self.members.lanes().map(|lane| Ok((lane, tables.current(lane.frontend())?))).collect()
    }

    /// Writes the configuration as `members` has it, as an operator with an editor does.
    pub(super) fn write_config(&self) -> Result<()> {
        let text = config_text(&self.fleet, &self.members, self.flow_timeout, &self.socket, &self.bpffs);
        fs::write(&self.config, text).with_context(|| format!("writing {}", self.config.display()))
    }

    /// The configuration file.
    pub(super) fn config_file(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.config)?)
    }

    /// Sends a request to the server on a web server.
    pub(super) fn tell_server(&self, web: usize, request: &str) -> Result<String> {
        control::ask(&self.servers.get(web).context("no such server")?.control, request)
    }

    /// What a server accepted.
    pub(super) fn accepts(&self, web: usize) -> Result<Vec<echo::Accept>> {
        control::ask_json(&self.servers.get(web).context("no such server")?.control, echo::ACCEPTS)
    }

    /// Waits until each backend that takes new flows is up and has slots.
    pub(super) fn wait_served(&self) -> Result<()> {
        poll("every backend is up and has slots", SOON, || {
            let backends = self.backends()?;
            let served = |lane: Lane, web: usize| {
                let (pool, name) = (lane.pool(), web_name(web));
                backends.iter().any(|backend| backend.is(&pool, &name) && backend.is_up_with_slots())
            };
            let all = |lane| self.members.active(lane).all(|web| served(lane, web));
            Ok(self.members.lanes().all(all).then_some(()))
        })
    }

    /// Waits until a web server is down by its check in every lane, and has no slots.
    pub(super) fn wait_down(&self, web: usize) -> Result<()> {
        let name = web_name(web);
        poll(&format!("{name} is down and has no slots"), SOON, || {
            let backends = self.backends()?;
            let mut its = backends.iter().filter(|backend| backend.name == name);
            Ok(its.all(|it| it.health.state == "down" && it.slot_share_percent == 0.0).then_some(()))
        })
    }

    /// Waits until no slot remembers anything; false if that takes longer than it may.
    pub(super) fn wait_settled(&self) -> Result<bool> {
        let timeout = (self.flow_timeout + SETTLING) * 2 + SOON;
        let mut last = Flows::default();
        let settled = poll("no slot remembers anything", timeout, || {
            last = self.flows()?;
            Ok(last.is_settled().then_some(()))
        });
        match settled {
            Ok(()) => Ok(true),
            Err(_) if !last.is_settled() && !crate::lab::interrupted() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Starts the client; returns when it has begun.
    pub(super) fn start_client(&self, plan: &talk::Plan) -> Result<Client> {
        let control = self.fleet.lab.dir().join("client.ctl");
        let mut command = Command::new(bins::lb_lab()?);
        command.arg("talk").arg("--control").arg(&control);
        for server in &plan.servers {
            command.args(["--server", &server.to_string()]);
        }
        for (option, value) in [
            ("--talks", u64::from(plan.talks)),
            ("--downloads", u64::from(plan.downloads)),
            ("--download-bytes", plan.download_bytes),
            ("--download-ms", u64::try_from(plan.download_time.as_millis())?),
            ("--visits-per-second", u64::from(plan.visits_per_second)),
            ("--seed", plan.seed),
        ] {
            command.args([option, &value.to_string()]);
        }
        let process = self.fleet.client.spawn(command)?;
        process.wait_for_output(talk::READY, SOON)?;
        let client = Client { control, process };
        wait_until("the client answers", SOON, || Ok(client.report().ok()))?;
        Ok(client)
    }

    /// What the agent and its interfaces say, for a run that went wrong.
    pub(super) fn explain(&self) {
        eprintln!("{}", self.lbd.log_tail());
        match self.edit("status") {
            Ok(status) => eprintln!("lbctl status:\n{status}"),
            Err(error) => eprintln!("lbctl status: {error:#}"),
        }
    }
}

impl Backend {
    /// Whether it is this one.
    pub(super) fn is(&self, pool: &str, name: &str) -> bool {
        self.pool == pool && self.name == name
    }

    fn is_up_with_slots(&self) -> bool {
        self.health.state == "up" && self.slot_share_percent > 0.0
    }
}

impl Server {
    fn start(fleet: &mut WebFleet, web: usize) -> Result<Self> {
        let control = fleet.lab.dir().join(format!("{}.ctl", web_name(web)));
        let host = &fleet.webs.get(web).context("no such web server")?.host;
        let mut command = Command::new(bins::lb_lab()?);
        command.args(["echo", "--name", &web_name(web), "--control"]).arg(&control);
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            command.args(["--listen", &SocketAddr::new(any, HTTP_PORT).to_string()]);
            command.args(["--check", &SocketAddr::new(any, CHECK_PORT).to_string()]);
        }
        let process = host.spawn(command)?;
        process.wait_for_output(echo::READY, SOON)?;
        Ok(Self { control, _process: process })
    }
}

impl Client {
    /// Its connections, by kind.
    pub(super) fn report(&self) -> Result<talk::Report> {
        control::ask_json(&self.control, talk::REPORT).with_context(|| self.process.log_tail())
    }

    /// Every visit that has ended.
    pub(super) fn visits(&self) -> Result<Vec<talk::Visit>> {
        control::ask_json(&self.control, talk::VISITS)
    }

    /// Every download.
    pub(super) fn downloads(&self) -> Result<Vec<talk::Download>> {
        control::ask_json(&self.control, talk::DOWNLOADS)
    }

    /// Gives it an order.
    pub(super) fn tell(&self, request: &str) -> Result<()> {
        control::ask(&self.control, request).map(drop)
    }

    /// Waits until so many talks and downloads are established, or broken.
    pub(super) fn wait_established(&self, talks: u32, downloads: u32) -> Result<()> {
        let timeout = SOON + Duration::from_millis(2) * (talks + downloads);
        poll("every connection is established", timeout, || {
            let report = self.report()?;
            let begun = |tally: &talk::Tally| tally.open_count() + tally.broken + tally.ended;
            let all = begun(&report.talks) >= talks.into() && begun(&report.downloads) >= downloads.into();
            Ok(all.then_some(()))
        })
    }
}

/// As [`wait_until`], looking less often.
pub(super) fn poll<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_until(what, timeout, || {
        let found = look()?;
        if found.is_none() {
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(found)
    })
}

fn config_text(
    fleet: &WebFleet,
    members: &Members,
    flow_timeout: Duration,
    socket: &std::path::Path,
    bpffs: &std::path::Path,
) -> String {
    let (bpffs, socket, interval) = (bpffs.display(), socket.display(), CHECK_INTERVAL.as_millis());
    let mut text = format!(
        "[node]\n\
         interfaces = [\"{NODE_FRONT}\", \"{NODE_BACK}\"]\n\
         vips = \"assign\"\n\
         bpffs = \"{bpffs}\"\n\
         control_socket = \"{socket}\"\n\n\
         [node.limits]\n\
         flows = {FLOW_ENTRIES}\n\n\
         [checks.web]\n\
         kind = \"http\"\n\
         path = \"/healthz\"\n\
         port = {CHECK_PORT}\n\
         interval = \"{interval}ms\"\n\
         timeout = \"{interval}ms\"\n\
         rise = 2\n\
         fall = 3\n"
    );
    let pool_keys = format!("flow_timeout = \"{}s\"\n", flow_timeout.as_secs());
    // Writing to a string cannot fail.
    let _ = write!(text, "{}", members.config(&fleet.webs, &pool_keys));
    text
}
