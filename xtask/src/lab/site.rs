//! `cargo xtask lab site`: the three tiers of `examples/site.toml`, live or, with `--check`, with failures in each tier.
//!
//! Role: the options and what is printed; the site itself is in lb-tests' `three_tiers`. Imports `leftovers`, `live`,
//! `unbroken` (how a lab ends).
//! Always holds: with `--json` the last line of standard output is one JSON object, also when the check failed.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use lb_tests::lab::{Lab, interrupted};
use lb_tests::three_tiers::load::Load;
use lb_tests::three_tiers::{Site, check, view};
use lb_tests::unbroken::Progress;

use super::live::wait_interruptibly;
use super::unbroken::{Ended, end};
use super::{Prepared, leftovers, prepare_with};
use crate::setup::Group;

/// Time between two drawings on a terminal.
const REDRAW: Duration = Duration::from_secs(1);

/// Time between two tables where no terminal is.
const REPRINT: Duration = Duration::from_secs(5);

/// Options of `lab site`.
#[derive(Args, Debug)]
pub struct SiteArgs {
    /// Unattended: a failure in each tier, one after another; ends with 0 only if all was well
    #[arg(long)]
    check: bool,
    /// The summary as one line of JSON
    #[arg(long, requires = "check")]
    json: bool,
    /// Set-up and build are done: set where this program starts itself again as root
    #[arg(long, hide = true)]
    prepared: bool,
}

/// Prepares and runs the site.
///
/// # Errors
/// When it cannot be prepared, breaks or leaves something behind. A check that finds something wrong ends with 1.
pub fn command(args: &SiteArgs) -> Result<ExitCode> {
    if !args.prepared {
        let words = env::args().skip_while(|word| word != "site");
        let groups = [Group::Toolchain, Group::Lab, Group::Test];
        if let Prepared::AsRoot(mut command) = prepare_with(&groups, &words.collect::<Vec<_>>())? {
            return Err(command.exec()).context("cannot start sudo");
        }
    }
    Lab::handle_interrupts()?;
    let progress = Progress::default();
    if args.check {
        let outcome = check::run(&progress).and_then(|summary| Ended::new(summary.ok, summary, &progress));
        return end(args.json, leftovers::check_gone().and(outcome));
    }
    let shown = show(&progress);
    leftovers::check_gone()?;
    println!("Removed everything: namespaces, programs, pins and files.");
    // However it failed, an interrupt is the normal end.
    if interrupted() { Ok(ExitCode::SUCCESS) } else { shown.map(|()| ExitCode::SUCCESS) }
}

/// Shows the site until it is interrupted, and removes it.
fn show(progress: &Progress) -> Result<()> {
    let site = Site::start(&|text| progress.say(text))?;
    println!(
        "\nThe client asks nginx for pages; some the application servers make with what they read from and write to MariaDB.\n\
         Try, from another terminal as root:\n\
         \x20 {lbctl} backend list\n\
         \x20 {lbctl} backend drain app/app1\n\
         Ctrl-C ends the lab and removes everything.\n",
        lbctl = site.agent.lbctl_line()?
    );
    let load = Load::start(&site.client);
    let on_terminal = io::stdout().is_terminal();
    let interval = if on_terminal { REDRAW } else { REPRINT };
    let mut drawn_lines = 0;
    loop {
        wait_interruptibly(Instant::now() + interval)?;
        let text = view::view(&site.agent.backends()?, &load.requests(), progress.elapsed().as_secs());
        let back =
            if on_terminal && drawn_lines > 0 { format!("\x1b[{drawn_lines}F\x1b[J") } else { String::new() };
        let mut stdout = io::stdout().lock();
        write!(stdout, "{back}{text}").and_then(|()| stdout.flush()).context("writing the view")?;
        drawn_lines = text.lines().count();
    }
}
