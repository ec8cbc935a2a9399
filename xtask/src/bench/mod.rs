//! `cargo xtask bench`: how fast the datapath is, how fast a slot table is built, what checks cost.
//!
//! Role: one command; the benches are targets of their packages. Imports `privilege`, `setup`, `workspace`.

mod against;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::ebpf_toolchain::Places;
use crate::privilege::Privilege;
use crate::setup::{self, Group};
use crate::workspace;

/// Options of `cargo xtask bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand, Debug)]
enum Bench {
    /// Nanoseconds per packet of the loaded program, for each mode and number of flows
    Datapath {
        /// The figures as JSON, and nothing else, on standard output
        #[arg(long)]
        json: bool,
        /// Measure the datapath of this git revision beside the present one
        #[arg(long, value_name = "REVISION")]
        against: Option<String>,
    },
    /// What looking after a million remembered flows costs the agent
    Flows {
        /// The figures as JSON, and nothing else, on standard output
        #[arg(long)]
        json: bool,
    },
    /// What checking 5,000 backends once a second costs the agent
    Health {
        /// The figures as JSON, and nothing else, on standard output
        #[arg(long)]
        json: bool,
    },
    /// Time to build a slot table of 1,000 backends
    Maglev,
}

/// `cargo xtask bench`.
///
/// # Errors
/// When set-up, the build or the bench fails.
pub fn command(args: &BenchArgs) -> Result<ExitCode> {
    match &args.bench {
        Bench::Datapath { json, against } => datapath(*json, against.as_deref())?,
        Bench::Flows { json } => flows(*json)?,
        Bench::Health { json } => health(*json)?,
        Bench::Maglev => workspace::run(&mut workspace::cargo([
            "bench",
            "-p",
            "lb-common",
            "--features",
            "host",
            "--bench",
            "maglev",
        ]))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn datapath(json: bool, revision: Option<&str>) -> Result<()> {
    setup::ensure(&[Group::Toolchain])?;
    let mut command = workspace::cargo(["bench", "-p", "lb-userspace", "--bench", "datapath"]);
    run_as_root(&mut command, "load an XDP program")?;
    command.arg("--");
    if json {
        command.arg("--json");
    }
    if let Some(revision) = revision {
        command.arg("--against").arg(against::build(revision)?);
    }
    workspace::run(&mut command)
}

fn flows(json: bool) -> Result<()> {
    setup::ensure(&[Group::Toolchain])?;
    let mut command = workspace::cargo(["bench", "-p", "lb-userspace", "--bench", "flows", "--"]);
    run_as_root(&mut command, "fill a BPF map")?;
    if json {
        command.arg("--json");
    }
    workspace::run(&mut command)
}

fn health(json: bool) -> Result<()> {
    setup::ensure(&[Group::Toolchain])?;
    let mut command = workspace::cargo(["bench", "-p", "lb-userspace", "--bench", "health", "--"]);
    if json {
        command.arg("--json");
    }
    workspace::run(&mut command)
}

/// Makes cargo start what it built as root, while cargo itself stays what it is.
///
/// # Errors
/// When root's rights are not to be had; `purpose` completes "root is needed to".
pub fn run_as_root(command: &mut Command, purpose: &str) -> Result<()> {
    let privilege = Privilege::of_this_process(&Places::of_this_process());
    if privilege != Privilege::Root {
        privilege.command("cargo's runner", &[], purpose)?;
        let architecture = std::env::consts::ARCH.to_ascii_uppercase();
        command.env(format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER"), "sudo -E");
    }
    Ok(())
}
