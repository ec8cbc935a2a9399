//! The grammar of `lbctl`.
//!
//! Role: what may be typed, and its help. Imports `api` only (the notations and the defaults).
//! Always holds: what parses is well formed; whether it makes sense (a weight's range, a pool's name) is for the
//! agent to say.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::edit::{BackendAddress, BackendId};
use crate::api::{DEFAULT_SOCKET, MAX_EVENTS};

/// Shown after the help of every command.
const AFTER_HELP: &str = "Exit codes: 0 done; 1 refused or failed; 2 called wrongly; 3 lbd cannot be reached; \
4 not done within --timeout.";

/// Shows and changes what the load balancer's agent, lbd, does.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// The control socket of lbd.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Tables for people, JSON for programs.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Table,
    /// The types of the API as JSON.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The agent, its interfaces, limits and counters at a glance.
    Status,
    /// Services.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Backends.
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Read the configuration file again and apply it; an invalid file changes nothing.
    Reload,
    /// What happened lately, the oldest first.
    Events {
        /// Go on with new ones as they come, until interrupted.
        #[arg(short, long)]
        follow: bool,
        /// How many at most.
        #[arg(long, value_name = "N", default_value_t = 50,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_EVENTS)))]
        limit: u32,
    },
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Every service with its counters.
    List,
}

/// What to do with backends. Every change is written to the configuration file.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Backends with their health, share and counters.
    List {
        /// Only those of this pool.
        pool: Option<String>,
    },
    /// One backend in full: its check, its last results and their latencies.
    Show {
        /// The pool and the backend's name in it, such as web/web1; of a standby, web/spare/web1.
        #[arg(value_name = "POOL/NAME", value_parser = BackendId::with_standbys)]
        id: BackendId,
    },
    /// Add a backend to a pool.
    Add(AddArgs),
    /// Remove a backend: it takes no new flows, and its connections stay with it until they end.
    Remove(OneBackend),
    /// Set the share of new flows that a backend takes, relative to the others of its pool.
    Weight {
        /// Which one.
        #[command(flatten)]
        backend: OneBackend,
        /// 0 to 1000; 0 takes no new flows.
        #[arg(value_name = "N")]
        weight: u32,
    },
    /// Give a backend no new flows; its connections stay with it until they end.
    Drain(DrainArgs),
    /// Give a backend new flows again, after a drain or a maintenance.
    Undrain(OneBackend),
    /// Take all traffic from a backend: no new flows, and its connections are given up. `undrain` ends it.
    Maintenance(MaintenanceArgs),
}

/// Arguments of `backend drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Which one.
    #[command(flatten)]
    pub backend: OneBackend,
    /// Wait until nothing leads to it any more, and show meanwhile how many flows remain.
    #[arg(long)]
    pub wait: bool,
    /// Wait for no longer than this, such as 5m or 90s; it stays draining all the same. Without it, wait for as long as
    /// it takes.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// Even if it is the last backend of its pool that takes new flows.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `backend maintenance`.
#[derive(Debug, Args)]
pub struct MaintenanceArgs {
    /// Which one.
    #[command(flatten)]
    pub backend: OneBackend,
    /// Even if it is the last backend of its pool that takes new flows.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `backend add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Which one.
    #[command(flatten)]
    pub backend: OneBackend,
    /// Where it listens, an address or ADDRESS:PORT. Without a port, the service's own.
    pub address: BackendAddress,
    /// Share of new flows relative to the others of the pool. Without it, the configuration's default.
    #[arg(long, value_name = "N")]
    pub weight: Option<u32>,
}

/// Which backend.
#[derive(Debug, Args)]
pub struct OneBackend {
    /// The pool and the backend's name in it, such as web/web1.
    #[arg(value_name = "POOL/NAME")]
    pub id: BackendId,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("lbctl").chain(line.split_whitespace()))
    }

    fn refusal(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_backend_is_added_with_its_address_and_weight() {
        let cli = parse("backend add web/web4 10.0.0.14:80 --weight 50").unwrap();
        let Command::Backend(BackendCommand::Add(add)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(add.backend.id.to_string(), "web/web4");
        assert_eq!(add.address.to_string(), "10.0.0.14:80");
        assert_eq!(add.weight, Some(50));
        assert_eq!((cli.output, cli.socket), (Output::Table, DEFAULT_SOCKET.into()));
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for line in ["-o json --socket /s status", "status --socket /s -o json"] {
            let cli = parse(line).unwrap();
            assert_eq!((cli.output, cli.socket), (Output::Json, "/s".into()));
        }
    }

    #[test]
    fn every_command_parses() {
        for line in [
            "status",
            "service list",
            "backend list",
            "backend list web",
            "backend show web/web1",
            "backend show web/spare/web1",
            "backend add web/web4 fd00::14",
            "backend remove web/web1",
            "backend weight web/web1 0",
            "backend drain web/web1",
            "backend drain --force web/web1 --wait",
            "backend maintenance web/web1",
            "backend maintenance web/web1 --force",
            "backend undrain web/web1",
            "reload",
            "events",
            "events --limit 10000",
            "events -f",
            "events --follow --limit 1 -o json",
        ] {
            parse(line).unwrap();
        }
    }

    #[test]
    fn a_drain_waits_for_as_long_as_it_is_told_to() {
        let drain = |line: &str| match parse(line).unwrap().command {
            Command::Backend(BackendCommand::Drain(drain)) => (drain.wait, drain.timeout, drain.force),
            other => panic!("{other:?}"),
        };
        assert_eq!(drain("backend drain web/web1"), (false, None, false));
        let line = "backend drain web/web1 --wait --timeout 1m30s";
        assert_eq!(drain(line), (true, Some(Duration::from_secs(90)), false));
        assert_eq!(drain("backend drain web/web1 --wait --force"), (true, None, true));
    }

    #[test]
    fn what_is_mistyped_is_refused_with_the_reason() {
        assert!(
            refusal("backend drain web1").contains("write POOL/NAME, such as web/web1: there is no slash")
        );
        assert!(refusal("backend show a/b/c/d").contains("there is more than one slash in it"));
        assert!(refusal("backend drain web/spare/web1").contains("there is more than one slash in it"));
        assert!(refusal("backend add web/web1 web1.example").contains("write an IP address"));
        assert!(refusal("backend weight web/web1 -1").contains("unexpected argument '-1'"));
        assert!(refusal("backend weight web/web1 many").contains("invalid digit"));
        assert!(refusal("events --limit 0").contains("1..=10000"));
        assert!(refusal("backend lst").contains("'list'"));
        assert!(refusal("backend drain web/web1 --timeout 5m").contains("--wait"));
        assert!(refusal("backend drain web/web1 --wait --timeout 5").contains("time unit needed"));
        assert!(refusal("-o xml status").contains("possible values: table, json"));
    }
}
