//! `cargo xtask`: everything that is done with the repository besides writing it.
//!
//! Role: one file (or directory) for each command; this one only chooses among them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod build;
mod ebpf_toolchain;
mod privilege;
mod progress;
mod setup;
mod text;
mod verify;
mod workspace;

/// Set-up, build, run, lab, test, bench and verify.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Install what the project needs and this machine lacks
    Setup(setup::SetupArgs),
    /// Check layering, house rules and the hot path of the built datapath
    Verify,
    /// Set up, then build lbd, lbctl and the lab
    Build(build::BuildArgs),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Setup(args) => setup::command(&args),
        Command::Verify => verify::command(),
        Command::Build(args) => build::command(&args),
    }
}
