//! `cargo xtask build`: set-up, then the binaries and the lab.
//!
//! Role: one command; `run`, `test` and `bench` use its parts. Imports `setup`, `workspace`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::setup::{self, Group};
use crate::workspace;

/// Options of `cargo xtask build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// Optimise
    #[arg(long)]
    release: bool,
}

/// `cargo xtask build`.
///
/// # Errors
/// When set-up or cargo fails.
pub fn command(args: &BuildArgs) -> Result<ExitCode> {
    setup::ensure(&[Group::Toolchain])?;
    all(args.release)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds the binaries and the lab's programs.
///
/// # Errors
/// When cargo fails.
pub fn all(release: bool) -> Result<()> {
    workspace::run(&mut cargo_build(release, &["-p", "lb-userspace", "-p", "lb-tests"]))
}

/// Builds `lbd` and `lbctl` and returns the directory they are in.
///
/// # Errors
/// When cargo fails.
pub fn binaries(release: bool) -> Result<PathBuf> {
    workspace::run(&mut cargo_build(release, &["-p", "lb-userspace", "--bins"]))?;
    Ok(workspace::target_dir().join(if release { "release" } else { "debug" }))
}

fn cargo_build(release: bool, what: &[&str]) -> std::process::Command {
    let mut command = workspace::cargo(["build"]);
    command.args(what).args(release.then_some("--release"));
    command
}
