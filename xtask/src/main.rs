//! `cargo xtask`: everything that is done with the repository besides writing it.
//!
//! Role: one file (or directory) for each command; this one only chooses among them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod build;
mod ebpf_toolchain;
#[cfg(test)]
mod ebpf_toolchain_tests;
mod fuzz;
mod lab;
mod privilege;
mod progress;
mod run;
mod setup;
mod test;
mod text;
mod verify;
mod workspace;

/// Set-up, build, run, lab, test, bench, fuzz and verify.
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
    /// Set up, then build lbd, lbctl and the lab
    Build(build::BuildArgs),
    /// Set up, build and run lbd on this node, or the built-in lab where there is no configuration
    Run(run::RunArgs),
    /// Start a ready-made topology of network namespaces
    Lab(lab::LabArgs),
    /// Set up, then run every tier of the tests
    Test(test::TestArgs),
    /// Measure
    Bench(bench::BenchArgs),
    /// Mutate packets, and compare what host and kernel make of them
    Fuzz(fuzz::FuzzArgs),
    /// Check layering, house rules and the hot path of the built datapath
    Verify,
}

fn main() -> ExitCode {
    dispatch(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup(args) => setup::command(&args),
        Command::Build(args) => build::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Lab(args) => lab::command(&args),
        Command::Test(args) => test::command(&args),
        Command::Bench(args) => bench::command(&args),
        Command::Fuzz(args) => fuzz::command(&args),
        Command::Verify => verify::command(),
    }
}
