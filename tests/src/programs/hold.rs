//! `lb-lab hold`: makes a lab with one host and one program, and keeps it until it is ended. For the tests of what
//! happens when the owner of a lab ends or dies.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::lab::{Interrupted, Lab, wait_until};

/// What it prints, followed by the lab's id and the program's process id, when the lab stands.
pub const READY: &str = "lb-lab hold: ready";

/// Time after which it ends by itself.
const MAX_HOLD: Duration = Duration::from_mins(5);

/// Holds a lab until SIGINT or SIGTERM.
///
/// # Errors
/// As [`Lab::new`].
pub fn hold() -> Result<()> {
    Lab::handle_interrupts()?;
    let lab = Lab::new("hold")?;
    let host = lab.host("host")?;
    host.bpffs()?;
    let mut sleep = Command::new("sleep");
    sleep.arg(MAX_HOLD.as_secs().to_string());
    let process = host.spawn(sleep)?;
    println!("{READY} {} {}", lab.id(), process.pid());
    match wait_until("a signal", MAX_HOLD, || Ok(None::<()>)) {
        Err(error) if error.is::<Interrupted>() => Ok(()),
        result => result,
    }
}
