//! `cargo xtask lab churn|drain|flood`: that no connection breaks when anything changes.
//!
//! Role: the options of these labs and what is printed at their end; the labs themselves are in lb-tests' `unbroken`.
//! Imports `leftovers`.
//! Always holds: progress goes to standard error, and with `--json` the last line of standard output is one JSON object,
//! also when the lab failed.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use lb_tests::lab::{Lab, interrupted};
use lb_tests::site::Mode;
use lb_tests::unbroken::{Progress, churn, drain, flood};
use serde::Serialize;
use serde_json::json;

use super::{Prepared, leftovers, prepare};

/// Exit status after an interrupt: that of a shell for SIGINT.
const INTERRUPTED: u8 = 130;

/// Which forward modes take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Modes {
    /// Every mode at once.
    All,
    /// Destination NAT.
    Nat,
    /// Destination MAC only.
    DsrL2,
    /// IP in IP.
    DsrIpip,
}

impl Modes {
    fn list(self) -> Vec<Mode> {
        match self {
            Self::All => Mode::ALL.to_vec(),
            Self::Nat => vec![Mode::Nat],
            Self::DsrL2 => vec![Mode::DsrL2],
            Self::DsrIpip => vec![Mode::DsrIpip],
        }
    }
}

/// What all of these labs are asked.
#[derive(Args, Debug)]
pub struct Common {
    /// Which forward modes take part, each over IPv4 and IPv6
    #[arg(long, value_enum, default_value_t = Modes::All)]
    mode: Modes,
    /// The summary as one line of JSON
    #[arg(long)]
    json: bool,
    /// Set-up and build are done: set where this program starts itself again as root
    #[arg(long, hide = true)]
    prepared: bool,
}

/// Options of `lab churn`.
#[derive(Args, Debug)]
pub struct ChurnArgs {
    /// Established connections, in all
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Changes while they exchange data
    #[arg(long, default_value_t = 60)]
    changes: u32,
    /// Gives the same changes again [default: another one each time]
    #[arg(long)]
    seed: Option<u32>,
    /// Seconds after which an idle flow is forgotten
    #[arg(long, default_value_t = 10)]
    flow_timeout: u32,
    #[command(flatten)]
    common: Common,
}

/// Options of `lab drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// Downloads in each mode
    #[arg(long, default_value_t = 60)]
    downloads: u32,
    /// Seconds that each takes
    #[arg(long, default_value_t = 12)]
    seconds: u32,
    /// Seconds after which an idle flow is forgotten
    #[arg(long, default_value_t = 3)]
    flow_timeout: u32,
    #[command(flatten)]
    common: Common,
}

/// Options of `lab flood`.
#[derive(Args, Debug)]
pub struct FloodArgs {
    /// Established connections that exchange data
    #[arg(long, default_value_t = 300)]
    connections: u32,
    /// Downloads under way
    #[arg(long, default_value_t = 60)]
    downloads: u32,
    /// Seconds that the flood lasts at least
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Seconds after which an idle flow is forgotten
    #[arg(long, default_value_t = 10)]
    flow_timeout: u32,
    #[command(flatten)]
    common: Common,
}

/// A lab of this kind.
pub trait Unbroken {
    /// What all are asked.
    fn common(&self) -> &Common;

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be made or breaks.
    fn run(&self, progress: &Progress) -> Result<Ended>;
}

impl Unbroken for ChurnArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self, progress: &Progress) -> Result<Ended> {
        let options = churn::Options {
            connections: self.connections,
            changes: self.changes,
            modes: self.common.mode.list(),
            seed: self.seed.map_or_else(churn::any_seed, u64::from),
            flow_timeout: seconds(self.flow_timeout),
            pace: Duration::from_secs(1),
        };
        let summary = churn::run(&options, progress)?;
        Ended::new(summary.ok, summary, progress)
    }
}

impl Unbroken for DrainArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self, progress: &Progress) -> Result<Ended> {
        let options = drain::Options {
            modes: self.common.mode.list(),
            downloads: self.downloads,
            download_time: seconds(self.seconds),
            flow_timeout: seconds(self.flow_timeout),
        };
        let summary = drain::run(&options, progress)?;
        Ended::new(summary.ok, summary, progress)
    }
}

impl Unbroken for FloodArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self, progress: &Progress) -> Result<Ended> {
        let options = flood::Options {
            modes: self.common.mode.list(),
            talks: self.connections,
            downloads: self.downloads,
            time: seconds(self.seconds),
            flow_timeout: seconds(self.flow_timeout),
        };
        let summary = flood::run(&options, progress)?;
        Ended::new(summary.ok, summary, progress)
    }
}

/// How a lab ended.
pub struct Ended {
    /// Whether all was well.
    ok: bool,
    /// Its summary as a line of JSON, and as one that is easier to read.
    line: String,
    text: String,
}

impl Ended {
    /// How one ended whose summary is this.
    ///
    /// # Errors
    /// When that cannot be written as JSON.
    pub fn new(ok: bool, summary: impl Serialize, progress: &Progress) -> Result<Self> {
        #[derive(Serialize)]
        struct Timed<T> {
            #[serde(flatten)]
            summary: T,
            total_seconds: f64,
        }
        let total_seconds = (progress.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let timed = Timed { summary, total_seconds };
        let (line, text) = (serde_json::to_string(&timed), serde_json::to_string_pretty(&timed));
        Ok(Self {
            ok,
            line: line.context("writing the summary")?,
            text: text.context("writing the summary")?,
        })
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Prepares and runs a lab; `name` is its subcommand.
///
/// # Errors
/// When it cannot be prepared, breaks or leaves something behind. One that finds something wrong ends with 1.
pub fn command(name: &str, lab: &impl Unbroken) -> Result<ExitCode> {
    if !lab.common().prepared {
        // Everything after the lab's name, as it was typed.
        let words = env::args().skip_while(|word| word != name);
        if let Prepared::AsRoot(mut command) = prepare(&words.collect::<Vec<_>>())? {
            return Err(command.exec()).context("cannot start sudo");
        }
    }
    Lab::handle_interrupts()?;
    let progress = Progress::default();
    let outcome = lab.run(&progress);
    // Whatever happened, the lab is gone now.
    end(lab.common().json, leftovers::check_gone().and(outcome))
}

/// Prints how a lab ended; the status to end with.
///
/// # Errors
/// Why it failed, unless it was interrupted.
pub fn end(json: bool, outcome: Result<Ended>) -> Result<ExitCode> {
    match outcome {
        Ok(ended) => {
            println!("{}", if json { ended.line } else { ended.text });
            Ok(if ended.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            if json {
                println!("{}", json!({ "ok": false, "error": format!("{error:#}") }));
            }
            if interrupted() {
                eprintln!("Interrupted before the lab was done; everything is removed.");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            Err(error)
        }
    }
}
