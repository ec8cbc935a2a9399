//! `cargo xtask fuzz`: mutated packets through the decision core on the host and the object in the kernel.
//!
//! Role: one command; the fuzzer is `lb_tests::fuzz`, its runner an example of that package. Imports `bench` (root's
//! rights for what cargo starts), `setup`, `text`, `workspace`.
//! Always holds: the command ends with 0 only if nothing was found, and says how to see again what was.

mod report;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use lb_tests::fuzz::{Summary, fault_directory};

use crate::bench::run_as_root;
use crate::setup::{self, Group};
use crate::workspace;

/// How long a run takes unless it is told.
const DEFAULT_SECONDS: u64 = 60;

/// Options of `cargo xtask fuzz`.
#[derive(Args, Debug)]
pub struct FuzzArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Mutated packets: host and kernel agree about each, and what is forwarded is sound
    Packets(PacketsArgs),
}

#[derive(Args, Debug)]
struct PacketsArgs {
    /// End after so many inputs
    #[arg(long, value_name = "N")]
    inputs: Option<u64>,
    /// End after so many seconds [default: 60]
    #[arg(long, value_name = "N", conflicts_with = "inputs")]
    seconds: Option<u64>,
    /// Seed of the inputs [default: another one every time]
    #[arg(long)]
    seed: Option<u64>,
    /// Workers, each with a loaded program of its own [default: one for each CPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// The figures as JSON, and nothing else, on standard output
    #[arg(long)]
    json: bool,
    /// Run the packets of a fault's file again, or of any in the corpus's format
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inputs", "seconds", "seed", "jobs", "json"])]
    replay: Option<PathBuf>,
}

/// `cargo xtask fuzz`.
///
/// # Errors
/// When set-up, the build or the runner fails.
pub fn command(args: &FuzzArgs) -> Result<ExitCode> {
    let What::Packets(args) = &args.what;
    setup::ensure(&[Group::Toolchain])?;
    let mut runner = runner(args)?;
    if args.replay.is_some() {
        let status = workspace::status(&mut runner)?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let output = runner
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", workspace::shown(&runner)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Ok(summary) = serde_json::from_str::<Summary>(&text) else {
        bail!("the runner ended with {} and without figures (see above)", output.status);
    };
    if args.json {
        println!("{}", text.trim_end());
    } else {
        print!("{}", report::table(&summary));
    }
    Ok(if output.status.success() && summary.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The command that builds the runner, and starts it as root.
fn runner(args: &PacketsArgs) -> Result<Command> {
    let mut command = workspace::cargo(["run", "--release", "-p", "lb-tests", "--example", "lb-fuzz"]);
    run_as_root(&mut command, "load an XDP program")?;
    command.arg("--");
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let seed = args.seed.unwrap_or_else(any_seed);
    command.args(["--jobs", &jobs.to_string(), "--seed", &seed.to_string()]);
    command.arg("--directory").arg(fault_directory());
    match (args.inputs, &args.replay) {
        (_, Some(file)) => {
            let file = file.canonicalize().with_context(|| format!("cannot open {}", file.display()))?;
            command.arg("--replay").arg(file)
        }
        (Some(inputs), None) => command.args(["--inputs", &inputs.to_string()]),
        (None, None) => command.args(["--seconds", &args.seconds.unwrap_or(DEFAULT_SECONDS).to_string()]),
    };
    Ok(command)
}

/// A seed from the clock, short enough to be typed.
fn any_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ (since.as_secs() % 1_000_000)
}
