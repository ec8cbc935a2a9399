//! A site with an agent on its node, used as an operator uses it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::agent::{self, Lbctl};
use lb_tests::http;
use lb_tests::lab::{Output, Process, wait_until};
use lb_tests::nginx::{More, Nginx};
use lb_tests::site::{HTTP_PORT, Mode, WebFleet};
use lb_userspace::api::types::{BackendInfo, HealthState, Status};
use serde::de::DeserializeOwned;

/// Time for what should happen at once on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Time that a command of ours may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// Held shared by tests, and alone by those that measure time or need both processors.
static TURNS: RwLock<()> = RwLock::new(());

/// A test's turn on the machine.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// A site whose node has a configuration for the agent.
pub struct Bed {
    /// The site.
    pub fleet: WebFleet,
    /// The configuration file.
    pub config: PathBuf,
    /// The agent's control socket.
    pub socket: PathBuf,
    lbctl: Lbctl,
    /// Directory of the pins (`node.bpffs`).
    pub bpffs: PathBuf,
    // Last, so that the site is gone when the next test's turn comes.
    _turn: Turn,
}

impl Bed {
    /// A site with our own web servers.
    pub fn shared(web_count: u8) -> Result<Self> {
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        let mut bed = Self::new(web_count, Turn::Shared { _guard: guard }, true)?;
        bed.fleet.start_servers()?;
        Ok(bed)
    }

    /// A site without web servers.
    pub fn shared_without_servers(web_count: u8) -> Result<Self> {
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Self::new(web_count, Turn::Shared { _guard: guard }, true)
    }

    /// A site with our own web servers, with no other test running.
    pub fn alone(web_count: u8) -> Result<Self> {
        let mut bed = Self::without_servers(web_count)?;
        bed.fleet.start_servers()?;
        Ok(bed)
    }

    /// A site without web servers, with no other test running.
    pub fn without_servers(web_count: u8) -> Result<Self> {
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        Self::new(web_count, Turn::Alone { _guard: guard }, true)
    }

    /// A site with our own web servers whose node has no bpffs.
    pub fn without_bpffs(web_count: u8) -> Result<Self> {
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        let mut bed = Self::new(web_count, Turn::Shared { _guard: guard }, false)?;
        bed.fleet.start_servers()?;
        Ok(bed)
    }

    fn new(web_count: u8, turn: Turn, mounted: bool) -> Result<Self> {
        let fleet = WebFleet::new(web_count)?;
        let bpffs = if mounted { fleet.node.bpffs()? } else { PathBuf::from("/sys/fs/bpf") }.join("lb");
        let dir = fleet.lab.dir();
        let (config, socket) = (dir.join("lb.toml"), dir.join("lbd.sock"));
        fs::write(&config, fleet.config(&bpffs, &socket))?;
        let lbctl = Lbctl::new(&fleet.node, &socket, COMMAND_TIMEOUT);
        Ok(Self { fleet, config, socket, lbctl, bpffs, _turn: turn })
    }

    /// An nginx on every web server, `web1` first.
    pub fn nginx_on_every_web(&self) -> Result<Vec<Nginx>> {
        let webs = self.fleet.webs.iter();
        webs.map(|web| Nginx::start(&web.host, self.fleet.lab.dir(), &More::default())).collect()
    }

    /// The text of the configuration file.
    pub fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.config)?)
    }

    /// Writes the configuration file, as an editor would.
    pub fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(&self.config, text)?)
    }

    /// Replaces a text that the configuration file has exactly once.
    pub fn replace(&self, from: &str, to: &str) -> Result<()> {
        let text = self.text()?;
        ensure!(text.matches(from).count() == 1, "{from:?} is not exactly once in\n{text}");
        self.write(&text.replace(from, to))
    }

    /// `lbd SUBCOMMAND --config FILE`.
    pub fn lbd(&self, subcommand: &str) -> Result<Command> {
        agent::lbd(subcommand, &self.config)
    }

    /// Starts the agent; returns when it serves.
    pub fn start(&self) -> Result<Process> {
        self.start_with(self.lbd("run")?)
    }

    /// The same with a command of the caller's.
    pub fn start_with(&self, command: Command) -> Result<Process> {
        agent::start(&self.fleet.node, command, SOON)
    }

    /// Runs an `lbd` command on the node to its end.
    pub fn run(&self, command: Command) -> Result<Output> {
        self.fleet.node.run(command, COMMAND_TIMEOUT)
    }

    /// What `lbd SUBCOMMAND` complains about. Fails when it does not end with a status of failure.
    pub fn refusal(&self, subcommand: &str) -> Result<String> {
        let output = self.run(self.lbd(subcommand)?)?;
        ensure!(
            output.status.code() == Some(1),
            "`{}`: {}: {}",
            output.command,
            output.status,
            output.stderr
        );
        Ok(output.stderr)
    }

    /// Runs `lbctl` with these words.
    pub fn lbctl(&self, words: &str) -> Result<Output> {
        self.lbctl.run(words)
    }

    /// Runs `lbctl` with these words; it must succeed.
    pub fn edit(&self, words: &str) -> Result<String> {
        self.lbctl.print(words)
    }

    /// What `lbctl` with these words complains about. Fails unless it says that the agent refused.
    pub fn edit_refusal(&self, words: &str) -> Result<String> {
        let output = self.lbctl(words)?;
        ensure!(
            output.status.code() == Some(1),
            "`{}`: {}: {}",
            output.command,
            output.status,
            output.stderr
        );
        Ok(output.stderr)
    }

    /// What `lbctl -o json` with these words prints.
    pub fn show<T: DeserializeOwned>(&self, words: &str) -> Result<T> {
        self.lbctl.show(words)
    }

    /// The agent at a glance.
    pub fn status(&self) -> Result<Status> {
        self.show("status")
    }

    /// One backend.
    pub fn backend(&self, pool: &str, name: &str) -> Result<BackendInfo> {
        let all: Vec<BackendInfo> = self.show(&format!("backend list {pool}"))?;
        all.into_iter()
            .find(|backend| backend.name == name)
            .with_context(|| format!("no backend {pool}/{name}"))
    }

    /// Waits until every backend is up by its check and has slots, which it gets a moment later.
    pub fn wait_up(&self) -> Result<()> {
        wait_until("every backend is up and has slots", SOON, || {
            let all: Vec<BackendInfo> = self.show("backend list")?;
            let serves = |backend: &BackendInfo| {
                backend.health.state == HealthState::Up && backend.slot_share_percent > 0.0
            };
            Ok(all.iter().all(serves).then_some(()))
        })
    }

    /// Waits until a server is down by its check in every pool, and has no slots.
    pub fn wait_moved(&self, name: &str) -> Result<()> {
        wait_until(&format!("{name} is down and has no slots"), SOON, || {
            let all: Vec<BackendInfo> = self.show("backend list")?;
            let moved = |backend: &BackendInfo| {
                backend.health.state == HealthState::Down && backend.slot_share_percent == 0.0
            };
            Ok(all.iter().filter(|backend| backend.name == name).all(moved).then_some(()))
        })
    }

    /// Who answers `count` requests to a VIP, each on a connection of its own; every one must be answered.
    pub fn answers(&self, vip: IpAddr, count: usize) -> Result<BTreeMap<String, usize>> {
        let server = SocketAddr::new(vip, HTTP_PORT);
        self.fleet.client.enter(|| {
            let mut answers = BTreeMap::new();
            for _ in 0..count {
                let response = http::get(server, "/", None, SOON)?;
                ensure!(response.status == 200, "{vip}: status {}", response.status);
                *answers.entry(response.backend.context("no name in the answer")?).or_default() += 1;
            }
            Ok(answers)
        })?
    }

    /// Every VIP is answered by exactly these servers.
    pub fn expect_servers(&self, names: &[&str]) -> Result<()> {
        for vip in all_vips() {
            self.expect_servers_of(vip, names)?;
        }
        Ok(())
    }

    /// A VIP is answered by exactly these servers.
    pub fn expect_servers_of(&self, vip: IpAddr, names: &[&str]) -> Result<()> {
        let answers = self.answers(vip, ENOUGH)?;
        let seen: Vec<&str> = answers.keys().map(String::as_str).collect();
        ensure!(seen == names, "{vip}: answered by {answers:?}, not by {names:?}");
        Ok(())
    }
}

/// Requests after which each of three servers of equal weight has been seen, except once in 10^10 times.
const ENOUGH: usize = 60;

/// The VIPs of every mode and family.
pub fn all_vips() -> impl Iterator<Item = IpAddr> {
    Mode::ALL.into_iter().flat_map(Mode::vips)
}

/// A VIP of each mode, both families among them.
pub fn vip_of_each_mode() -> [IpAddr; 3] {
    [Mode::Nat.vip_v4().into(), Mode::DsrL2.vip_v6().into(), Mode::DsrIpip.vip_v4().into()]
}
