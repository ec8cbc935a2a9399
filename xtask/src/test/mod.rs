//! `cargo xtask test`: every tier, in the order in which a failure is cheapest.
//!
//! Role: runs the tiers of `tiers`, or the kernel tier on other kernels (`kernel`), counts with `tally`, and ends with the
//! sum. Imports `setup`.
//! Always holds: the first tier that fails ends the run, and the last line is the sum of all tests that ran.

mod kernel;
mod tally;
mod tiers;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::setup;
use crate::text::columns;

use kernel::Kernel;
use tally::Tally;
use tiers::{Outcome, Tier};

/// Options of `cargo xtask test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Run the tests marked #[ignore] as well: those that take long
    #[arg(long)]
    pub long: bool,
    /// Run these tiers only
    #[arg(long, value_enum, value_name = "TIER")]
    pub only: Vec<Tier>,
    /// Run the kernel tier on Debian's kernel of this version, booted under emulation, and nothing else; may be repeated
    #[arg(long, value_enum, value_name = "VERSION", conflicts_with = "only")]
    pub kernel: Vec<Kernel>,
    /// Run only the tests whose name contains one of these (format, lint and verify are then left out)
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
}

/// How a tier ended.
struct Line {
    name: String,
    result: String,
    tally: Tally,
    took: Duration,
}

/// `cargo xtask test`.
///
/// # Errors
/// When set-up fails or a tier cannot be started; tests that fail end with 1.
pub fn command(args: &TestArgs) -> Result<ExitCode> {
    if !args.kernel.is_empty() {
        return on_kernels(args);
    }
    let chosen: Vec<Tier> = Tier::ALL.into_iter().filter(|tier| is_chosen(*tier, args)).collect();
    if chosen.is_empty() {
        bail!("no tier has tests to filter: leave out --only or the filter");
    }
    setup::ensure(&setup::ALL_GROUPS)?;
    let mut lines = Vec::new();
    let mut failed = None;
    for tier in &chosen {
        println!("\n=== {tier}");
        let start = Instant::now();
        let (outcome, tally) = tiers::run(*tier, args)?;
        lines.push(Line::closing(tier.to_string(), &outcome, tally, start.elapsed()));
        if matches!(outcome, Outcome::Failed) {
            failed = Some(*tier);
            break;
        }
    }
    let sum = lines.iter().fold(Tally::default(), |sum, line| sum + line.tally);
    let not_run: Vec<String> = chosen[lines.len()..].iter().map(Tier::to_string).collect();
    summarise(&lines, &not_run);
    Ok(close(failed.map(|tier| format!("--only {tier}")).as_deref(), sum, args))
}

/// The kernel tier on each of the kernels asked for, also when one of them fails: they have nothing to do with each other.
fn on_kernels(args: &TestArgs) -> Result<ExitCode> {
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for version in &args.kernel {
        println!("\n=== kernel {version}");
        let start = Instant::now();
        let (outcome, tally) = kernel::run(*version, args)?;
        lines.push(Line::closing(format!("kernel {version}"), &outcome, tally, start.elapsed()));
        failed.extend(matches!(outcome, Outcome::Failed).then(|| format!("--kernel {version}")));
    }
    let sum = lines.iter().fold(Tally::default(), |sum, line| sum + line.tally);
    summarise(&lines, &[]);
    let failed = failed.join(" ");
    Ok(close(Some(failed.as_str()).filter(|it| !it.is_empty()), sum, args))
}

impl Line {
    /// Prints that a tier is over, and keeps how it ended for the summary.
    fn closing(name: String, outcome: &Outcome, tally: Tally, took: Duration) -> Self {
        println!("=== {name}: {} in {} s", outcome.word(), took.as_secs());
        let result = match outcome {
            Outcome::Skipped(reason) => format!("skipped: {reason}"),
            Outcome::Passed | Outcome::Failed => outcome.word().to_owned(),
        };
        Self { name, result, tally, took }
    }
}

fn is_chosen(tier: Tier, args: &TestArgs) -> bool {
    (args.only.is_empty() || args.only.contains(&tier)) && (args.filters.is_empty() || tier.takes_filters())
}

/// Prints a line for each tier, run or not.
fn summarise(lines: &[Line], not_run: &[String]) {
    let mut rows: Vec<[String; 6]> = lines
        .iter()
        .map(|line| {
            [
                format!("  {}", line.name),
                format!("{} s", line.took.as_secs()),
                format!("{} passed", line.tally.passed),
                format!("{} failed", line.tally.failed),
                format!("{} ignored", line.tally.ignored),
                line.result.clone(),
            ]
        })
        .collect();
    for name in not_run {
        let [took, passed, failed, ignored] = [const { String::new() }; 4];
        rows.push([format!("  {name}"), took, passed, failed, ignored, "not run".to_owned()]);
    }
    print!("\nSummary\n{}", columns(&rows));
}

/// Says how to go on after a failure (`failed`: what to give for the part that did), and prints the sum.
fn close(failed: Option<&str>, sum: Tally, args: &TestArgs) -> ExitCode {
    if let Some(part) = failed {
        println!("\nTo run what failed again: cargo xtask test {part}");
    } else if sum.passed == 0 && !args.filters.is_empty() {
        println!("\nNo test has a name with {}.", args.filters.join(" or "));
    }
    println!("\n{sum}");
    let is_empty = sum.passed == 0 && !args.filters.is_empty();
    if failed.is_some() || is_empty { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
