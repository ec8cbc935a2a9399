//! The tiers and the cargo commands behind them.
//!
//! Role: one function for each kind of tier. Imports `bench` (root's rights for what cargo starts), `build`, `setup`,
//! `tally`, `verify`, `workspace`.
//! Always holds: everything is built in the dev profile, so that the tests and the `lbd` they start share their
//! dependencies.

use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;

use super::TestArgs;
use super::tally::Tally;
use crate::bench::run_as_root;
use crate::{build, setup, verify, workspace};

/// A tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// rustfmt
    Format,
    /// clippy, warnings denied
    Lint,
    /// cargo xtask verify
    Verify,
    /// Without privileges: units, properties, fixtures on the host
    Host,
    /// The same fixtures in the kernel, through `BPF_PROG_TEST_RUN`
    Kernel,
    /// Network namespaces with real clients and servers
    Lab,
    /// Examples in the documentation
    Doc,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Format => "format",
            Self::Lint => "lint",
            Self::Verify => "verify",
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Lab => "lab",
            Self::Doc => "doc",
        })
    }
}

impl Tier {
    /// Every tier, in the order in which they run.
    pub const ALL: [Self; 7] =
        [Self::Format, Self::Lint, Self::Verify, Self::Host, Self::Kernel, Self::Lab, Self::Doc];

    /// Whether it consists of tests with names.
    pub fn takes_filters(self) -> bool {
        matches!(self, Self::Host | Self::Kernel | Self::Lab | Self::Doc)
    }
}

/// How a tier ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was well.
    Passed,
    /// Something was not.
    Failed,
    /// It could not be run here, for this reason.
    Skipped(String),
}

impl Outcome {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// Runs one tier.
///
/// # Errors
/// When a command cannot be started.
pub fn run(tier: Tier, args: &TestArgs) -> Result<(Outcome, Tally)> {
    let (outcome, tally) = start(tier, args)?;
    if is_hollow(tier, &outcome, tally, args) {
        return Ok(step(Err(anyhow!("the tier {tier} ran no test at all"))));
    }
    Ok((outcome, tally))
}

/// Whether a tier that always has tests passed without any. A filter may leave a tier without.
fn is_hollow(tier: Tier, outcome: &Outcome, tally: Tally, args: &TestArgs) -> bool {
    let always_has_tests = matches!(tier, Tier::Host | Tier::Kernel | Tier::Lab);
    always_has_tests && args.filters.is_empty() && *outcome == Outcome::Passed && tally.passed == 0
}

fn start(tier: Tier, args: &TestArgs) -> Result<(Outcome, Tally)> {
    match tier {
        Tier::Format => Ok(without("rustfmt").unwrap_or_else(|| step(format()))),
        Tier::Lint => Ok(without("clippy").unwrap_or_else(|| step(lint()))),
        Tier::Verify => Ok(step(verify::run())),
        Tier::Host => host(args),
        Tier::Kernel => {
            let targets = test_targets(&workspace::root().join("tests/tests"))?;
            let kernel: Vec<String> = targets.into_iter().filter(|name| is_kernel(name)).collect();
            in_the_kernel(&kernel, &[], args)
        }
        Tier::Lab => {
            let targets = test_targets(&workspace::root().join("tests/tests"))?;
            let lab: Vec<String> = targets.into_iter().filter(|name| !is_kernel(name)).collect();
            in_the_kernel(&lab, &["--lib", "--bins"], args)
        }
        Tier::Doc => doc(args),
    }
}

/// The result of a step that is no test: a failure counts as one.
fn step(holds: Result<bool>) -> (Outcome, Tally) {
    match holds {
        Ok(true) => (Outcome::Passed, Tally::default()),
        Ok(false) => (Outcome::Failed, Tally { passed: 0, failed: 1, ignored: 0 }),
        Err(error) => {
            println!("{error:#}");
            (Outcome::Failed, Tally { passed: 0, failed: 1, ignored: 0 })
        }
    }
}

/// The result of a tier whose component of cargo this machine cannot have.
fn without(component: &str) -> Option<(Outcome, Tally)> {
    let reason = format!("no {component} to be had here");
    setup::lacks_component(component).then(|| (Outcome::Skipped(reason), Tally::default()))
}

fn format() -> Result<bool> {
    let ours = succeeds(&mut workspace::cargo(["fmt", "--all", "--check"]))?;
    // The eBPF package is outside the workspace.
    let ebpf = succeeds(&mut workspace::cargo(["fmt", "--check", "--manifest-path", "lb-ebpf/Cargo.toml"]))?;
    Ok(ours && ebpf)
}

fn lint() -> Result<bool> {
    succeeds(&mut workspace::cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn host(args: &TestArgs) -> Result<(Outcome, Tally)> {
    let mut command = workspace::cargo(["test", "--no-fail-fast", "--features", "lb-common/host"]);
    command.args(["-p", "lb-common", "-p", "lb-userspace", "-p", "xtask", "--lib", "--bins", "--tests"]);
    command.args(libtest_args(args));
    counted(&mut command)
}

/// Without `--include-ignored`: an ignored example need not even compile.
fn doc(args: &TestArgs) -> Result<(Outcome, Tally)> {
    let mut command = workspace::cargo(["test", "--no-fail-fast", "--doc", "--features", "lb-common/host"]);
    command.args(["-p", "lb-common", "-p", "lb-userspace", "-p", "lb-tests"]);
    command.arg("--").args(&args.filters);
    counted(&mut command)
}

/// Targets of `lb-tests` that load programs or make namespaces: as root, with the binaries built before.
fn in_the_kernel(targets: &[String], also: &[&str], args: &TestArgs) -> Result<(Outcome, Tally)> {
    if targets.is_empty() && also.is_empty() {
        return Ok(step(Err(anyhow!("tests/tests has no test for this tier"))));
    }
    if let Err(error) = build::all(false) {
        return Ok(step(Err(error)));
    }
    let mut command = workspace::cargo(["test", "--no-fail-fast", "-p", "lb-tests"]);
    command.args(also);
    for target in targets {
        command.args(["--test", target]);
    }
    run_as_root(&mut command, "load programs and make network namespaces")?;
    command.args(libtest_args(args));
    counted(&mut command)
}

/// Names of the integration tests: `name.rs` and `name/main.rs`.
fn test_targets(directory: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        let is_target = path.extension().is_some_and(|it| it == "rs") || path.join("main.rs").is_file();
        names.extend(path.file_stem().filter(|_| is_target).map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Whether an integration test belongs to the kernel tier.
fn is_kernel(target: &str) -> bool {
    target == "kernel" || target.starts_with("kernel_")
}

/// What follows the `--` of cargo test.
fn libtest_args(args: &TestArgs) -> impl Iterator<Item = &str> {
    let filters = args.filters.iter().map(String::as_str);
    std::iter::once("--").chain(filters).chain(args.long.then_some("--include-ignored"))
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(workspace::status(command)?.success())
}

/// Runs a cargo test command, passing its output on and counting its results.
fn counted(command: &mut Command) -> Result<(Outcome, Tally)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", workspace::shown(command)))?;
    let mut tally = Tally::default();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line.context("cannot read what the tests print")?;
        println!("{line}");
        tally = Tally::of_line(&line).map_or(tally, |found| tally + found);
    }
    let status = child.wait().context("cannot wait for the tests")?;
    Ok(judged(status.success(), tally))
}

/// A command that fails without a failed test (a build, a crash) counts as one.
fn judged(success: bool, tally: Tally) -> (Outcome, Tally) {
    match (success, tally.failed) {
        (true, _) => (Outcome::Passed, tally),
        (false, 0) => (Outcome::Failed, Tally { failed: 1, ..tally }),
        (false, _) => (Outcome::Failed, tally),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_without_a_failed_test_counts_as_one() {
        let three = Tally { passed: 3, failed: 0, ignored: 0 };
        assert_eq!(judged(false, three), (Outcome::Failed, Tally { passed: 3, failed: 1, ignored: 0 }));
        assert_eq!(judged(true, three), (Outcome::Passed, three));
    }

    #[test]
    fn a_step_that_ends_in_an_error_fails_its_tier() {
        assert_eq!(
            step(Err(anyhow::anyhow!("x"))),
            (Outcome::Failed, Tally { passed: 0, failed: 1, ignored: 0 })
        );
        assert_eq!(step(Ok(false)).0, Outcome::Failed);
        assert_eq!(step(Ok(true)), (Outcome::Passed, Tally::default()));
    }

    #[test]
    fn a_tier_without_tests_has_not_passed() {
        let mut args = TestArgs { long: false, only: Vec::new(), kernel: Vec::new(), filters: Vec::new() };
        let one = Tally { passed: 1, failed: 0, ignored: 0 };
        assert!(is_hollow(Tier::Lab, &Outcome::Passed, Tally::default(), &args));
        assert!(!is_hollow(Tier::Lab, &Outcome::Passed, one, &args));
        assert!(!is_hollow(Tier::Doc, &Outcome::Passed, Tally::default(), &args));
        args.filters.push("name".to_owned());
        assert!(!is_hollow(Tier::Lab, &Outcome::Passed, Tally::default(), &args));
    }

    #[test]
    fn integration_tests_are_files_and_directories_with_a_main() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kernel_fixtures")).unwrap();
        fs::create_dir_all(dir.path().join("common")).unwrap();
        for file in ["web.rs", "kernel_fixtures/main.rs", "common/mod.rs", "notes.md"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(test_targets(dir.path()).unwrap(), ["kernel_fixtures", "web"]);
        assert!(is_kernel("kernel_fixtures") && !is_kernel("web"));
    }

    #[test]
    fn the_output_of_a_command_is_counted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: FAILED. 4 passed; 1 failed; 0 ignored'; exit 101"]);
        assert_eq!(
            counted(&mut command).unwrap(),
            (Outcome::Failed, Tally { passed: 4, failed: 1, ignored: 0 })
        );
    }
}
