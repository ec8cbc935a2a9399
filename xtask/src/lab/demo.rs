//! The web lab: a client, a node with `lbd` and three web servers.
//!
//! Role: the way in. Called as root, with the binaries built. Imports `live`, `unattended` and the lab library.
//! Always holds: an interrupt ends the lab by the same way as any other end, so everything is removed.

use std::process::ExitCode;

use anyhow::Result;
use lb_tests::lab::{Lab, interrupted};

use super::{live, unattended};

/// Exit status after an interrupt before the end of a check: that of a shell for SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the lab: until Ctrl-C with a live view, or unattended with `check`.
///
/// # Errors
/// When the lab cannot be made or breaks; a check that finds something wrong ends with 1.
pub fn run(check: bool, json: bool) -> Result<ExitCode> {
    Lab::handle_interrupts()?;
    let outcome = if check { unattended::run(json) } else { live::run().map(|()| true) };
    match outcome {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        // Whatever failed: its reason was the interrupt (a tool ended by the same Ctrl-C, for one).
        Err(_) if interrupted() && !check => Ok(ExitCode::SUCCESS),
        Err(error) if interrupted() => {
            eprintln!("Ended before the check was done: {error:#}");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}
