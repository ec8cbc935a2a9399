//! `lbd`: the agent, and the decapsulator for backends.

use anyhow::Result;
use clap::{Parser, Subcommand};
use lb_userspace::agent::{self, AgentError, Options};
use lb_userspace::config::LoadError;
use lb_userspace::decap;
use lb_userspace::telemetry::init_logging;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The load balancer's agent: attaches the datapath and keeps it true to the configuration
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or Ctrl-C; the datapath then goes on without it
    Run {
        /// The configuration file
        #[arg(long, default_value = "/etc/lb/lb.toml")]
        config: PathBuf,
        /// Start even if the configuration has no services
        #[arg(long)]
        force: bool,
        /// What to log: error, warn, info, debug, trace, or a filter of tracing directives, target=level,…
        #[arg(long, default_value = "info")]
        log: String,
    },
    /// Check a configuration file and say what is wrong with it
    Check {
        /// The configuration file
        #[arg(long, default_value = "/etc/lb/lb.toml")]
        config: PathBuf,
    },
    /// Take the datapath away: the node stops forwarding
    Remove {
        /// The configuration file that it was started with
        #[arg(long, default_value = "/etc/lb/lb.toml")]
        config: PathBuf,
    },
    /// On a backend: take packets for VIPs out of IPIP and GUE tunnels, until SIGTERM or Ctrl-C
    Decap(decap::Options),
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn report(error: &anyhow::Error) {
    match error.downcast_ref::<AgentError>() {
        Some(AgentError::Config(LoadError::Invalid(errors))) => {
            eprintln!("{}", errors.render(std::io::stderr().is_terminal()));
        }
        _ => eprintln!("error: {error:#}"),
    }
}

fn execute(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Run { config, force, log } => {
            init_logging(&log)?;
            runtime.block_on(agent::run(Options { config, force }))?;
        }
        Command::Check { config } => {
            let warnings = agent::check(&config, std::io::stderr().is_terminal())?;
            if !warnings.is_empty() {
                eprintln!("{warnings}");
            }
            println!("{}: valid", config.display());
        }
        Command::Remove { config } => {
            for line in runtime.block_on(agent::remove(&config))? {
                println!("{line}");
            }
        }
        Command::Decap(options) => {
            init_logging(&options.log)?;
            runtime.block_on(decap::run(&options))?;
        }
    }
    Ok(())
}
