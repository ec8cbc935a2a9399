//! `cargo xtask lab`: ready-made topologies of network namespaces on this machine.
//!
//! Role: prepares what a lab needs (tools, binaries, root's rights) and starts it; the labs themselves are in the
//! files of this directory, built on the library of `tests/`. Imports `build`, `privilege`, `setup`.
//! Always holds: a lab runs as root and finds its binaries built in the profile of this program.

mod backends;
mod demo;
mod fleet;
mod judge;
mod lane;
mod leftovers;
mod live;
mod report;
mod sample;
mod traffic;
mod unattended;

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::ebpf_toolchain::Places;
use crate::privilege::Privilege;
use crate::setup::{self, Group};
use crate::{build, workspace};

/// Options of `cargo xtask lab`.
#[derive(Args, Debug)]
pub struct LabArgs {
    #[command(subcommand)]
    lab: Lab,
}

#[derive(Subcommand, Debug)]
enum Lab {
    /// A client, a node with lbd and three web servers, with a live view of who serves
    Web(WebArgs),
}

#[derive(Args, Debug)]
struct WebArgs {
    /// Unattended: send requests in every mode, kill a server, end with 0 only if all was well
    #[arg(long)]
    check: bool,
    /// The summary as JSON
    #[arg(long, requires = "check")]
    json: bool,
    /// Set-up and build are done: set where this program starts itself again as root
    #[arg(long, hide = true)]
    prepared: bool,
}

/// `cargo xtask lab`.
///
/// # Errors
/// When the lab cannot be prepared or fails.
pub fn command(args: &LabArgs) -> Result<ExitCode> {
    match &args.lab {
        Lab::Web(WebArgs { check, json, prepared: true }) => demo::run(*check, *json),
        Lab::Web(WebArgs { check, json, prepared: false }) => demo(*check, *json),
    }
}

/// Prepares and starts the web lab.
///
/// # Errors
/// When it cannot be prepared or fails.
pub fn demo(check: bool, json: bool) -> Result<ExitCode> {
    setup::ensure(&[Group::Toolchain, Group::Lab])?;
    // The profile that this program has, where the lab looks for the binaries first.
    build::all(!cfg!(debug_assertions))?;
    let privilege = Privilege::of_this_process(&Places::of_this_process());
    if privilege == Privilege::Root {
        return demo::run(check, json);
    }
    let own = env::current_exe().context("cannot find this program")?;
    let mut command = privilege.command(own, &[], "make network namespaces")?;
    command
        .args(["lab", "web", "--prepared"])
        .args(check.then_some("--check"))
        .args(json.then_some("--json"));
    command.current_dir(workspace::root());
    Err(command.exec()).context("cannot start sudo")
}
