//! The web fleet with `lbd` on its node.
//!
//! Role: makes it, asks `lbctl`, tells what went wrong. Imports `backends`, `lane` and the lab library.
//! Always holds: dropping it ends `lbd` and removes everything.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_tests::agent::{self, Lbctl};
use lb_tests::lab::{Process, interrupted, wait_until};
use lb_tests::site::WebFleet;

use super::backends::{self, Backend};
use super::lane::WEBS;

/// Time that `lbd` has to load the datapath, on a busy machine too.
const LBD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that the checks have to bring every backend up.
const UP_TIMEOUT: Duration = Duration::from_secs(15);

/// Time that `lbctl` may take.
const LBCTL_TIMEOUT: Duration = Duration::from_secs(5);

/// The fleet, running.
pub struct Fleet {
    // Dropped in this order: the agent before the namespaces that it works in.
    lbd: Process,
    /// The site.
    pub site: WebFleet,
    lbctl: Lbctl,
}

impl Fleet {
    /// Makes namespaces, web servers and the agent; returns when every backend is up and served.
    ///
    /// # Errors
    /// When something cannot be made or does not become ready; what it made is removed then.
    pub fn start() -> Result<Self> {
        let start = Instant::now();
        println!("Making a client, a router, a node and {WEBS} web servers (network namespaces) …");
        let mut site = WebFleet::new(WEBS)?;
        site.start_servers()?;
        println!("Starting lbd on the node …");
        let socket = site.lab.dir().join("lbd.sock");
        let config = site.lab.dir().join("lb.toml");
        fs::write(&config, site.config(&site.node.bpffs()?, &socket))
            .with_context(|| format!("writing {}", config.display()))?;
        let lbd = agent::start(&site.node, agent::lbd("run", &config)?, LBD_TIMEOUT)?;
        let lbctl = Lbctl::new(&site.node, &socket, LBCTL_TIMEOUT);
        let fleet = Self { lbd, site, lbctl };
        fleet.wait_until_up().inspect_err(|_| fleet.explain())?;
        println!("All backends are up after {:.1} s.", start.elapsed().as_secs_f64());
        Ok(fleet)
    }

    fn wait_until_up(&self) -> Result<()> {
        let mut missing = Vec::new();
        let up = wait_until("every backend up", UP_TIMEOUT, || {
            missing = backends::not_ready(&self.backends()?);
            Ok(missing.is_empty().then_some(()))
        });
        up.with_context(|| missing.join("; "))
    }

    /// The backends, as the agent sees them.
    ///
    /// # Errors
    /// When the agent has ended or does not answer.
    pub fn backends(&self) -> Result<Vec<Backend>> {
        if !self.lbd.is_alive() {
            bail!("lbd has ended by itself");
        }
        self.lbctl.show("backend list")
    }

    /// How to call `lbctl` for this fleet, as one would type it.
    ///
    /// # Errors
    /// When it is not built.
    pub fn lbctl_line(&self) -> Result<String> {
        self.lbctl.line()
    }

    /// Prints what helps to find out what went wrong, on standard error.
    pub fn explain(&self) {
        if interrupted() {
            return;
        }
        eprintln!("{}", self.lbd.log_tail());
        match self.lbctl.print("status") {
            Ok(status) => eprintln!("lbctl status:\n{status}"),
            Err(error) => eprintln!("lbctl status: {error:#}"),
        }
    }
}
