//! `lbd` on the site's node, and what `lbctl` tells of it.
//!
//! Always holds: it is asked as a user asks it, by its commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::bins;
use crate::lab::{Host, Process};

/// What `lbd` logs when the datapath forwards.
const READY: &str = "lbd ready";

/// Time that `lbd` has to load the datapath, on a busy machine too.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that `lbctl` may take.
const LBCTL_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that are asked for at once.
const MAX_EVENTS: u32 = 1_000;

/// The agent; ended when dropped.
pub struct Agent {
    process: Process,
    node: Host,
    socket: PathBuf,
}

/// A backend, as far as the lab looks at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Its health.
    pub health: Health,
    /// Its share of its pool's slots, 0 to 100.
    pub slot_share_percent: f64,
    /// New connections.
    pub new_connections: u64,
}

/// What a check says.
#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// What a good answer said of it.
    pub detail: Option<String>,
}

/// Something that the agent told.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub unix_time_ms: u64,
    /// What kind of thing.
    pub kind: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// A sentence.
    pub message: String,
}

impl Agent {
    /// Starts it with this configuration, whose files are in `dir`; returns when it forwards.
    pub(super) fn start(node: &Host, dir: &Path, config: &str, socket: PathBuf) -> Result<Self> {
        let file = dir.join("lb.toml");
        fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
        let mut command = Command::new(bins::lbd()?);
        command.arg("run").arg("--config").arg(&file);
        let process = node.spawn(command)?;
        process.wait_for_output(READY, START_TIMEOUT)?;
        Ok(Self { process, node: node.clone(), socket })
    }

    /// How to call `lbctl` for this site, as one would type it.
    ///
    /// # Errors
    /// When it is not built.
    pub fn lbctl_line(&self) -> Result<String> {
        Ok(format!("{} --socket {}", bins::lbctl()?.display(), self.socket.display()))
    }

    /// Runs `lbctl` with these words; what it prints.
    ///
    /// # Errors
    /// When the agent has ended, refuses or does not answer.
    pub fn lbctl(&self, words: &str) -> Result<String> {
        if !self.process.is_alive() {
            bail!("lbd has ended by itself: {}", self.process.log_tail());
        }
        let mut command = Command::new(bins::lbctl()?);
        command.arg("--socket").arg(&self.socket).args(words.split_whitespace());
        Ok(self.node.run(command, LBCTL_TIMEOUT)?.success()?.stdout)
    }

    /// Every backend.
    ///
    /// # Errors
    /// As [`Self::lbctl`].
    pub fn backends(&self) -> Result<Vec<Backend>> {
        let text = self.lbctl("-o json backend list")?;
        serde_json::from_str(&text).with_context(|| format!("lbctl backend list: {text}"))
    }

    /// The latest events, the oldest first.
    ///
    /// # Errors
    /// As [`Self::lbctl`].
    pub fn events(&self) -> Result<Vec<Event>> {
        let text = self.lbctl(&format!("-o json events --limit {MAX_EVENTS}"))?;
        serde_json::from_str(&text).with_context(|| format!("lbctl events: {text}"))
    }

    /// What helps to find out what went wrong.
    pub fn explain(&self) -> String {
        let shown = |words: &str| match self.lbctl(words) {
            Ok(text) => format!("lbctl {words}:\n{text}"),
            Err(error) => format!("lbctl {words}: {error:#}"),
        };
        format!("{}\n{}\n{}", self.process.log_tail(), shown("status"), shown("backend list"))
    }
}
