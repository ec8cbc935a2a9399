//! `lbd` on a host of a lab, and `lbctl`.
//!
//! Role: starts the one and asks with the other. Imports `lab`, `bins`.
//! Always holds: both are used as a user uses them, by their commands and what these print.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::bins;
use crate::lab::{Host, Output, Process};

/// What `lbd run` logs when packets are served.
const READY: &str = "lbd ready";

/// `lbd SUBCOMMAND --config FILE`.
///
/// # Errors
/// When it is not built.
pub fn lbd(subcommand: &str, config: &Path) -> Result<Command> {
    let mut command = Command::new(bins::lbd()?);
    command.arg(subcommand).arg("--config").arg(config);
    Ok(command)
}

/// Starts the agent by a command that runs it; returns when it serves, which has to be within the time. It ends with the value.
///
/// # Errors
/// When it does not start, or does not serve in time.
pub fn start(node: &Host, command: Command, timeout: Duration) -> Result<Process> {
    let lbd = node.spawn(command)?;
    lbd.wait_for_output(READY, timeout)?;
    Ok(lbd)
}

/// `lbctl`, asking one agent.
pub struct Lbctl {
    node: Host,
    socket: PathBuf,
    timeout: Duration,
}

impl Lbctl {
    /// For the agent with this control socket, called on `node`; a call has `timeout`, unless it says otherwise.
    pub fn new(node: &Host, socket: &Path, timeout: Duration) -> Self {
        Self { node: node.clone(), socket: socket.to_owned(), timeout }
    }

    /// How one would type it, without the words for what it shall do.
    ///
    /// # Errors
    /// When it is not built.
    pub fn line(&self) -> Result<String> {
        Ok(format!("{} --socket {}", bins::lbctl()?.display(), self.socket.display()))
    }

    /// Runs it with these words (between spaces) to its end, however it ends.
    ///
    /// # Errors
    /// When it is not built or takes longer than it may.
    pub fn run(&self, words: &str) -> Result<Output> {
        self.run_within(words, self.timeout)
    }

    /// The same with another time: for what waits for something.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_within(&self, words: &str, timeout: Duration) -> Result<Output> {
        let mut command = Command::new(bins::lbctl()?);
        command.arg("--socket").arg(&self.socket).args(words.split_whitespace());
        self.node.run(command, timeout)
    }

    /// Runs it with these words; what it prints.
    ///
    /// # Errors
    /// As [`Self::run`], and when it fails.
    pub fn print(&self, words: &str) -> Result<String> {
        Ok(self.run(words)?.success()?.stdout)
    }

    /// What it prints as JSON with these words.
    ///
    /// # Errors
    /// As [`Self::print`], and when that is something else.
    pub fn show<T: DeserializeOwned>(&self, words: &str) -> Result<T> {
        let text = self.print(&format!("-o json {words}"))?;
        serde_json::from_str(&text).with_context(|| format!("lbctl {words}: {text}"))
    }
}
