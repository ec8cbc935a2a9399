//! `cargo xtask setup`: what a machine needs, and nothing twice.
//!
//! Role: shows the plan of `plan` on what `present` found and has `install` carry it out. Called by `build`, `run`,
//! `lab`, `test` and `bench` as well.
//! Always holds: what is going to be installed is printed before it is; `--check` changes nothing.

mod install;
mod packages;
mod plan;
mod present;

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

pub use packages::Group;

use plan::{Plan, State};
use present::Present;

use crate::text::columns;

/// Everything that a command may need.
pub const ALL_GROUPS: [Group; 3] = [Group::Toolchain, Group::Lab, Group::Test];

/// Options of `cargo xtask setup`.
#[derive(Args, Debug)]
pub struct SetupArgs {
    /// Only report; ends with 1 when something is missing
    #[arg(long)]
    check: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// `cargo xtask setup`.
///
/// # Errors
/// When something is missing that can not be installed, or an installation fails.
pub fn command(args: &SetupArgs) -> Result<ExitCode> {
    let present = Present::on_this_machine();
    let found = plan::plan(&ALL_GROUPS, &present);
    show(&found);
    if args.check {
        if found.is_incomplete() && plan::would_newer_lists_help(&ALL_GROUPS, &present) {
            println!(
                "\nThe package lists may be old: set-up would fetch them (apt-get update) and look again."
            );
        }
        return Ok(if found.is_incomplete() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    if found.is_incomplete() {
        complete(&ALL_GROUPS, present, !args.yes && install::is_interactive())?;
    } else {
        println!("\nNothing to install.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that these groups are there; says nothing when they are.
///
/// # Errors
/// When something is missing that can not be installed, or an installation fails.
pub fn ensure(groups: &[Group]) -> Result<()> {
    let present = Present::on_this_machine();
    let found = plan::plan(groups, &present);
    if !found.is_incomplete() {
        return Ok(());
    }
    println!("Set-up: something is missing.");
    show(&found);
    complete(groups, present, false)
}

/// A component of cargo that a tier of the tests needs, if this machine cannot have it: no set-up can install it.
pub fn lacks_component(name: &str) -> bool {
    let present = Present::on_this_machine();
    !(if name == "rustfmt" { present.rustfmt } else { present.clippy })
}

/// Installs what is missing.
fn complete(groups: &[Group], mut present: Present, ask: bool) -> Result<()> {
    if plan::would_newer_lists_help(groups, &present) {
        println!("\nThe package lists do not have all of it; fetching them.");
        install::update_lists(present.privilege)?;
        present = Present::on_this_machine();
        show(&plan::plan(groups, &present));
    }
    let plan = plan::plan(groups, &present);
    refuse_if_stuck(&plan)?;
    if ask && !confirmed()? {
        bail!("nothing was installed");
    }
    println!();
    for step in &plan.steps {
        install::carry_out(step, present.privilege)?;
    }
    let left = plan::plan(groups, &Present::on_this_machine());
    if left.is_incomplete() {
        show(&left);
        bail!("set-up ran, but something is still missing (see above)");
    }
    println!("Set-up: complete.");
    Ok(())
}

fn refuse_if_stuck(plan: &Plan) -> Result<()> {
    let stuck: Vec<String> = plan
        .stuck()
        .map(|row| match &row.state {
            State::Stuck(reason) => format!("  {}: {reason}", row.part),
            State::Present(_) | State::Install(_) | State::Without(_) => row.part.clone(),
        })
        .collect();
    if !stuck.is_empty() {
        bail!("set-up cannot install all of it, and installed nothing:\n{}", stuck.join("\n"));
    }
    Ok(())
}

fn confirmed() -> Result<bool> {
    print!("\nInstall this? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes"))
}

/// Prints what is there and what is going to be installed.
fn show(plan: &Plan) {
    let mut group = None;
    let mut lines = Vec::new();
    for row in &plan.rows {
        if group.replace(row.group) != Some(row.group) {
            println!("{}", columns(&lines));
            lines.clear();
            let way = if row.group == Group::Toolchain { plan.way.as_str() } else { "" };
            let separator = if way.is_empty() { "" } else { ": " };
            println!("{}{separator}{way}", row.group.title());
        }
        let (state, detail) = match &row.state {
            State::Present(place) => ("there", place),
            State::Install(source) => ("install", source),
            State::Stuck(reason) => ("MISSING", reason),
            State::Without(reason) => ("skip", reason),
        };
        lines.push([format!("  {}", row.part), state.to_owned(), detail.clone(), row.why.clone()]);
    }
    print!("{}", columns(&lines));
}
