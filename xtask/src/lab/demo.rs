//! The web lab: a client, a node with `lbd` and three web servers.
//!
//! Role: the only file that knows this lab. Called as root, with the binaries built. Imports the lab library
//! (`lb_tests`) and nothing of xtask.

use std::process::ExitCode;

use anyhow::{Result, bail};

/// Runs the lab: until Ctrl-C with a live view, or unattended with `check`.
///
/// # Errors
/// When the lab cannot be made; a check that finds something wrong ends with 1.
pub fn run(_check: bool, _json: bool) -> Result<ExitCode> {
    bail!("the web lab is not there yet");
}
