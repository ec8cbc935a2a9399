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
mod site;
mod traffic;
mod unattended;
mod unbroken;

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{self, ExitCode};

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
    /// Three tiers: nginx, application servers, MariaDB with replicas; live, or with failures in each tier
    Site(site::SiteArgs),
    /// Thousands of established connections while backends come, go, drain, flap and change weights
    Churn(unbroken::ChurnArgs),
    /// Backends drained in the middle of downloads
    Drain(unbroken::DrainArgs),
    /// Established connections and a drain under a flood of SYNs from random addresses
    Flood(unbroken::FloodArgs),
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
        Lab::Site(args) => site::command(args),
        Lab::Churn(args) => unbroken::command("churn", args),
        Lab::Drain(args) => unbroken::command("drain", args),
        Lab::Flood(args) => unbroken::command("flood", args),
    }
}

/// Prepares and starts the web lab.
///
/// # Errors
/// When it cannot be prepared or fails.
pub fn demo(check: bool, json: bool) -> Result<ExitCode> {
    let options = [("--check", check), ("--json", json)];
    let mut words = vec!["web".to_owned()];
    words.extend(options.iter().filter(|(_, given)| *given).map(|(option, _)| (*option).to_owned()));
    match prepare(&words)? {
        Prepared::Here => demo::run(check, json),
        Prepared::AsRoot(mut command) => Err(command.exec()).context("cannot start sudo"),
    }
}

/// Where a lab runs, now that all is there.
enum Prepared {
    /// In this process.
    Here,
    /// In one with root's rights, started by this command.
    AsRoot(Box<process::Command>),
}

/// Sets up, builds, and finds out how to come by root's rights; `words` are those that start the same lab.
fn prepare(words: &[String]) -> Result<Prepared> {
    prepare_with(&[Group::Toolchain, Group::Lab], words)
}

/// The same for a lab that needs other things installed.
fn prepare_with(groups: &[Group], words: &[String]) -> Result<Prepared> {
    setup::ensure(groups)?;
    // The profile that this program has, where the lab looks for the binaries first.
    build::all(!cfg!(debug_assertions))?;
    let privilege = Privilege::of_this_process(&Places::of_this_process());
    if privilege == Privilege::Root {
        return Ok(Prepared::Here);
    }
    let own = env::current_exe().context("cannot find this program")?;
    let mut command = privilege.command(own, &[], "make network namespaces")?;
    command.arg("lab").args(words).arg("--prepared").current_dir(workspace::root());
    Ok(Prepared::AsRoot(Box::new(command)))
}
