//! `cargo xtask test`: every tier, in the order in which a failure is cheapest.
//!
//! Role: runs the tiers of `tiers`, counts with `tally`, and ends with the sum. Imports `setup`.
//! Always holds: the first tier that fails ends the run, and the last line is the sum of all tests that ran.

mod tally;
mod tiers;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::setup;
use crate::text::columns;

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
    /// Run only the tests whose name contains one of these (format, lint and verify are then left out)
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
}

/// How a tier ended.
struct Line {
    tier: Tier,
    result: String,
    tally: Tally,
    took: Duration,
}

/// `cargo xtask test`.
///
/// # Errors
/// When set-up fails or a tier cannot be started; tests that fail end with 1.
pub fn command(args: &TestArgs) -> Result<ExitCode> {
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
        let took = start.elapsed();
        println!("=== {tier}: {} in {} s", outcome.word(), took.as_secs());
        let result = match &outcome {
            Outcome::Skipped(reason) => format!("skipped: {reason}"),
            Outcome::Passed | Outcome::Failed => outcome.word().to_owned(),
        };
        lines.push(Line { tier: *tier, result, tally, took });
        if matches!(outcome, Outcome::Failed) {
            failed = Some(*tier);
            break;
        }
    }
    let sum = lines.iter().fold(Tally::default(), |sum, line| sum + line.tally);
    summarise(&lines, &chosen);
    Ok(close(failed, sum, args))
}

fn is_chosen(tier: Tier, args: &TestArgs) -> bool {
    (args.only.is_empty() || args.only.contains(&tier)) && (args.filters.is_empty() || tier.takes_filters())
}

/// Prints a line for each tier, run or not.
fn summarise(lines: &[Line], chosen: &[Tier]) {
    let mut rows: Vec<[String; 5]> = lines
        .iter()
        .map(|line| {
            [
                format!("  {}", line.tier),
                format!("{} s", line.took.as_secs()),
                format!("{} passed", line.tally.passed),
                format!("{} failed", line.tally.failed),
                line.result.clone(),
            ]
        })
        .collect();
    for tier in &chosen[lines.len()..] {
        rows.push([format!("  {tier}"), String::new(), String::new(), String::new(), "not run".to_owned()]);
    }
    print!("\nSummary\n{}", columns(&rows));
}

/// Says how to go on after a failure, and prints the sum.
fn close(failed: Option<Tier>, sum: Tally, args: &TestArgs) -> ExitCode {
    if let Some(tier) = failed {
        println!("\nThe tier {tier} failed. To run it again: cargo xtask test --only {tier}");
    } else if sum.passed == 0 && !args.filters.is_empty() {
        println!("\nNo test has a name with {}.", args.filters.join(" or "));
    }
    println!("\n{sum}");
    let is_empty = sum.passed == 0 && !args.filters.is_empty();
    if failed.is_some() || is_empty { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
