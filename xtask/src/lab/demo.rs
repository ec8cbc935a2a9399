//! The web lab: a client, a node with `lbd` and three web servers.
//!
//! Role: the way in. Called as root, with the binaries built. Imports the other files of the lab and the lab library.
//! Always holds: an interrupt ends the lab by the same way as any other end, so everything is removed; what is left
//! over all the same is an error.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use lb_tests::lab::{Lab, interrupted};

use super::{leftovers, live, report, unattended};

/// Exit status after an interrupt before the end of a check: that of a shell for SIGINT.
const INTERRUPTED: u8 = 130;

/// Runs the lab: until Ctrl-C with a live view, or unattended with `check` (and then, with `json`, the summary as a JSON
/// object in the last line).
///
/// # Errors
/// When the lab cannot be made, breaks or leaves something behind; a check that finds something wrong ends with 1.
pub fn run(check: bool, json: bool) -> Result<ExitCode> {
    Lab::handle_interrupts()?;
    if check { run_check(json) } else { run_live() }
}

fn run_live() -> Result<ExitCode> {
    let start = Instant::now();
    let outcome = live::run();
    check_gone(start)?;
    match outcome {
        // Whatever failed, the interrupt is why (a tool ended by the same Ctrl-C, for one), and it is the normal end.
        Err(_) if interrupted() => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

fn run_check(json: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let outcome = unattended::run();
    let gone = check_gone(start);
    let outcome = match (outcome, gone) {
        (Ok(_), Err(left)) => Err(left),
        (Err(error), Err(left)) => Err(error.context(left)),
        (outcome, Ok(())) => outcome,
    };
    if json {
        println!("{}", report::json(&outcome, start.elapsed())?);
    }
    match outcome {
        Ok(summary) if summary.is_ok() => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(_) if interrupted() => {
            eprintln!("Interrupted before the check was done.");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

/// Looks whether the lab is gone, and says so.
fn check_gone(start: Instant) -> Result<()> {
    leftovers::check_gone()?;
    println!(
        "Removed everything: namespaces, programs, pins and files. {:.1} s in all.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
