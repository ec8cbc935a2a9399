//! A site whose three backends are databases: `web1` is the primary, the others follow it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::agent::{self, Lbctl};
use lb_tests::lab::{Output, Process, wait_until};
use lb_tests::mariadb::{self, CHECK_PASSWORD, CHECK_USER, MYSQL_PORT, MariaDb};
use lb_tests::site::{Mode, NODE_BACK, NODE_FRONT, WebFleet};
use lb_userspace::api::types::{BackendInfo, Event};

/// Ample for what takes a second on an idle machine: databases, agent and clients share two processors with other tests.
pub const SOON: Duration = Duration::from_mins(1);

/// Pool of the primary whose connections are kept when it loses its role.
pub const KEEP: &str = "primary-keep";

/// Pool of the primary whose connections are reset then.
pub const RESET: &str = "primary-reset";

/// Pool of the replicas.
pub const REPLICAS: &str = "replicas";

/// How far a replica may be behind, in seconds.
pub const MAX_LAG_S: u64 = 5;

/// The site, its databases and its agent.
pub struct Bed {
    pub databases: Vec<MariaDb>,
    _lbd: Process,
    lbctl: Lbctl,
    pub fleet: WebFleet,
}

impl Bed {
    /// Starts it; returns when the primary and both replicas serve.
    pub fn new() -> Result<Self> {
        let fleet = WebFleet::new(3)?;
        let databases = start_databases(&fleet)?;
        let (bpffs, dir) = (fleet.node.bpffs()?.join("lb"), fleet.lab.dir());
        let (config, socket) = (dir.join("lb.toml"), dir.join("lbd.sock"));
        let node = format!(
            "[node]\ninterfaces = [\"{NODE_FRONT}\", \"{NODE_BACK}\"]\nvips = \"assign\"\nbpffs = \"{}\"\n\
             control_socket = \"{}\"\n",
            bpffs.display(),
            socket.display()
        );
        fs::write(&config, node + &checks() + &pools(&fleet))?;
        let lbd = agent::start(&fleet.node, agent::lbd("run", &config)?, SOON)?;
        let lbctl = Lbctl::new(&fleet.node, &socket, SOON);
        let bed = Self { databases, _lbd: lbd, lbctl, fleet };
        bed.wait_serving(KEEP, &["web1"])?;
        bed.wait_serving(RESET, &["web1"])?;
        bed.wait_serving(REPLICAS, &["web2", "web3"])?;
        Ok(bed)
    }

    /// The VIP of a pool.
    pub fn vip(pool: &str) -> IpAddr {
        match pool {
            KEEP => Mode::Nat,
            RESET => Mode::DsrL2,
            _ => Mode::DsrIpip,
        }
        .vip_v4()
        .into()
    }

    /// Says something to a pool as the application, on a connection of its own.
    pub fn ask(&self, pool: &str, statement: &str) -> Result<Output> {
        self.fleet.client.run(mariadb::client(Self::vip(pool), statement), SOON)
    }

    /// Which server answers at a pool's VIP: 1 for `web1`.
    pub fn server_of(&self, pool: &str) -> Result<u32> {
        let answer = self.ask(pool, "SELECT @@server_id")?.success()?.stdout;
        answer.trim().parse().with_context(|| format!("{answer:?}"))
    }

    pub fn backends(&self, pool: &str) -> Result<Vec<BackendInfo>> {
        self.lbctl.show(&format!("backend list {pool}"))
    }

    pub fn events(&self) -> Result<Vec<Event>> {
        self.lbctl.show("events --limit 10000")
    }

    /// Waits until exactly these backends have slots.
    pub fn wait_serving(&self, pool: &str, names: &[&str]) -> Result<()> {
        let mut last = Vec::new();
        wait_until(&format!("{pool} is served by {names:?}"), SOON, || {
            last = self.backends(pool)?;
            let serving = last.iter().filter(|backend| backend.slot_share_percent > 0.0);
            let serving: Vec<&str> = serving.map(|backend| backend.name.as_str()).collect();
            Ok((serving == names).then_some(()))
        })
        .with_context(|| format!("{last:?}"))
    }

    /// Waits until a backend's reason contains a text and it has no slots.
    pub fn wait_down(&self, pool: &str, name: &str, reason: &str) -> Result<()> {
        let mut last = Vec::new();
        wait_until(&format!("{pool}/{name} is down: {reason}"), SOON, || {
            last = self.backends(pool)?;
            let is_it = |backend: &&BackendInfo| {
                backend.name == name
                    && backend.slot_share_percent == 0.0
                    && backend.health.reason.as_deref().is_some_and(|text| text.contains(reason))
            };
            Ok(last.iter().find(is_it).map(drop))
        })
        .with_context(|| format!("{last:?}"))
    }

    /// Waits for an event about a pool that contains a text.
    pub fn wait_event(&self, pool: &str, text: &str) -> Result<Event> {
        wait_until(&format!("an event of {pool}: {text}"), SOON, || {
            let about = |event: &Event| {
                event.message.contains(text) && event.subject.as_deref().is_some_and(|it| it.contains(pool))
            };
            Ok(self.events()?.into_iter().find(about))
        })
    }
}

/// Waits until a server has this note of the application.
pub fn wait_note(server: &MariaDb, note: &str) -> Result<()> {
    wait_until(&format!("{} has {note}", server.address()), SOON, || {
        Ok(server.notes().ok().filter(|notes| notes.iter().any(|it| it == note)).map(drop))
    })
}

fn start_databases(fleet: &WebFleet) -> Result<Vec<MariaDb>> {
    let start = |(web, id): (_, u32)| {
        let web: &lb_tests::site::Web = web;
        let options: &[&str] = if id == 1 { &[] } else { &["--read-only"] };
        MariaDb::start(&fleet.lab, &web.host, id, web.v4.into(), options)
    };
    let databases = fleet.webs.iter().zip(1..).map(start).collect::<Result<Vec<_>>>()?;
    ensure!(databases.len() == 3, "three databases");
    databases[0].create_database()?;
    databases[1].follow(&databases[0], 0)?;
    databases[2].follow(&databases[0], 0)?;
    Ok(databases)
}

fn checks() -> String {
    let check = |name: &str, role: &str, more: &str| {
        format!(
            "\n[checks.{name}]\nkind = \"mysql\"\nuser = \"{CHECK_USER}\"\npassword = \"{CHECK_PASSWORD}\"\n\
             role = \"{role}\"\nport = {MYSQL_PORT}\ninterval = \"500ms\"\ntimeout = \"500ms\"\nrise = 1\nfall = 2\n\
             damping = false\n{more}"
        )
    };
    check("primary", "primary", "") + &check("replica", "replica", &format!("max_lag = \"{MAX_LAG_S}s\"\n"))
}

fn pools(fleet: &WebFleet) -> String {
    let pool = |name: &str, mode: Mode, check: &str, more: &str| {
        let backend = |web: &lb_tests::site::Web| {
            let address = match mode {
                Mode::Nat => SocketAddr::new(web.v4.into(), MYSQL_PORT).to_string(),
                Mode::DsrL2 | Mode::DsrIpip => web.v4.to_string(),
            };
            format!("    {{ name = \"{}\", address = \"{address}\" }},\n", web.host.name())
        };
        let backends: String = fleet.webs.iter().map(backend).collect();
        format!(
            "\n[pools.{name}]\nmode = \"{}\"\ncheck = \"{check}\"\n{more}backends = [\n{backends}]\n\n\
             [services.{name}]\nvips = [\"{}\"]\nports = [{MYSQL_PORT}]\nprotocol = \"tcp\"\npool = \"{name}\"\n",
            mode.name(),
            Bed::vip(name)
        )
    };
    pool(KEEP, Mode::Nat, "primary", "on_role_change = \"keep\"\n")
        + &pool(RESET, Mode::DsrL2, "primary", "on_role_change = \"reset\"\n")
        + &pool(REPLICAS, Mode::DsrIpip, "replica", "on_all_down = \"drop\"\n")
}
