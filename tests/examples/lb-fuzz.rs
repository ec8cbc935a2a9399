//! The fuzzer's runner, which `cargo xtask fuzz packets` builds and starts: workers with a loaded program each, a progress
//! line on standard error, and the figures as JSON on standard output.
//!
//! An example and no binary, because it needs the agent's crate: the library and binaries of this package are linked
//! before the agent can be built (see lib.rs).

#[expect(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../tests/kernel_fixtures"]
mod kernel_fixtures {
    pub mod bed;
    pub mod extras;
    pub mod fuzz;
    pub mod routes;
}

use anyhow::{Context as _, Result};
use clap::Parser;
use kernel_fixtures::fuzz::with_kernel;
use lb_tests::fuzz::{Campaign, Limit, Plan, replay};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// How often the progress line is written on a terminal, and elsewhere.
const PROGRESS: Duration = Duration::from_millis(500);
const PROGRESS_IN_LOGS: Duration = Duration::from_secs(30);

/// Fuzz the datapath: host and kernel side by side
#[derive(Parser)]
#[command(name = "lb-fuzz")]
struct Arguments {
    /// End after so many inputs
    #[arg(long)]
    inputs: Option<u64>,
    /// End after so many seconds
    #[arg(long, default_value_t = 60, conflicts_with = "inputs")]
    seconds: u64,
    /// Seed of the inputs
    #[arg(long)]
    seed: u64,
    /// Workers
    #[arg(long)]
    jobs: usize,
    /// Where a fault is written
    #[arg(long)]
    directory: PathBuf,
    /// Run the packets of this file and say what becomes of them
    #[arg(long)]
    replay: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.replay {
        Some(file) => again(file),
        None => fuzz(&arguments),
    }
}

/// Runs the packets of a file.
fn again(file: &Path) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let (report, is_sound) = with_kernel(|world, kernel| replay(world, kernel, &text))?;
    print!("{report}");
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fuzz(arguments: &Arguments) -> Result<ExitCode> {
    let limit = match arguments.inputs {
        Some(inputs) => Limit::Inputs(inputs),
        None => Limit::Time(Duration::from_secs(arguments.seconds)),
    };
    let plan = Plan { seed: arguments.seed, limit, directory: arguments.directory.clone() };
    let campaign = &Campaign::new(plan)?;
    let worker = || with_kernel(|world, kernel| campaign.work(world, kernel));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        let interval = if std::io::stderr().is_terminal() { PROGRESS } else { PROGRESS_IN_LOGS };
        let ticker = scope.spawn(move || while show_progress(campaign, interval) {});
        let worked = workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        campaign.finish();
        ticker.thread().unpark();
        worked
    })?;
    let summary = campaign.summary(arguments.jobs.max(1));
    println!("{}", serde_json::to_string(&summary)?);
    Ok(if summary.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits, then writes the progress line; false once the run has ended.
fn show_progress(campaign: &Campaign, interval: Duration) -> bool {
    thread::park_timeout(interval);
    let (inputs, elapsed) = campaign.progress();
    let (share, rate) = (100.0 * campaign.share(), campaign.summary(0).rate());
    let is_terminal = std::io::stderr().is_terminal();
    let (start, end) = if is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
    let last = if campaign.is_finished() && is_terminal { "\n" } else { end };
    let line = format!(
        "{start}  {share:3.0} %, {inputs} inputs in {:.0} s, {rate:.0}/s{last}",
        elapsed.as_secs_f64()
    );
    // Nobody reads it if that fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
    !campaign.is_finished()
}
