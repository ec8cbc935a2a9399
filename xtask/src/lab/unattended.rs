//! The unattended check: 3,000 requests in every mode over both families, one web server killed on the way.
//!
//! Role: runs the plan on a fleet and says whether it went as it must. Imports the other files of the lab.
//! Always holds: whatever happens, the fleet is gone when [`run`] returns.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::lab::{Interrupted, interrupted, wait_until};
use lb_tests::site::{CHECK_FALL, CHECK_INTERVAL, CHECK_TIMEOUT};

use super::backends;
use super::fleet::Fleet;
use super::judge::{self, Kill, Verdict};
use super::lane::{Lane, web_name};
use super::report::{self, Summary};
use super::sample::{Outcome, Sample};
use super::traffic::{self, Run};

/// The web server that dies.
const VICTIM: usize = 1;

/// Time beyond interval × fall + timeout for a busy machine to run what is due.
const SCHEDULING_MARGIN: Duration = Duration::from_millis(250);

/// Longest time until the kill is due.
const KILL_DUE_TIMEOUT: Duration = Duration::from_mins(1);

/// Failed requests that are shown one by one.
const MAX_SHOWN_FAILURES: usize = 10;

/// Runs the check, prints its summary, and removes the lab.
///
/// # Errors
/// When the lab cannot be made or breaks; [`Interrupted`].
pub fn run() -> Result<Summary> {
    let mut fleet = Fleet::start()?;
    let outcome = exercise(&mut fleet);
    if !outcome.as_ref().is_ok_and(|(_, verdict)| verdict.findings.is_empty()) {
        fleet.explain();
    }
    let (kill, verdict) = outcome?;
    let summary = Summary::new(&verdict, VICTIM, kill.deadline.saturating_sub(kill.killed));
    println!("\n{}\n{}", report::table(&verdict), summary.sentence());
    for finding in &verdict.findings {
        println!("WRONG: {finding}");
    }
    Ok(summary)
}

/// Sends the requests, kills the victim on the way, and judges.
fn exercise(fleet: &mut Fleet) -> Result<(Kill, Verdict)> {
    let (samples, kill) = send_and_kill(fleet)?;
    let mut verdict = judge::judge(&samples, &kill, traffic::PER_LANE);
    show_failures(&samples, &kill);
    match fleet.backends() {
        Ok(backends) => {
            let undetected = backends::not_down(&backends, VICTIM).into_iter();
            verdict.findings.extend(undetected.map(|text| format!("not taken down by its check: {text}")));
        }
        Err(error) => verdict.findings.push(format!("the agent does not answer at the end: {error:#}")),
    }
    Ok((kill, verdict))
}

fn send_and_kill(fleet: &mut Fleet) -> Result<(Vec<Sample>, Kill)> {
    println!("Sending {} requests; {} dies on the way …", traffic::PLANNED, web_name(VICTIM));
    let run = Run::new();
    let client = fleet.site.client.clone();
    let (sent, kill) = thread::scope(|scope| {
        let sending = scope.spawn(|| run.send_all(&client));
        let kill = kill_on_the_way(fleet, &run).inspect_err(|_| run.stop());
        (sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), kill)
    });
    let kill = kill?;
    sent?;
    if interrupted() {
        return Err(Interrupted.into());
    }
    Ok((run.into_samples(), kill))
}

fn kill_on_the_way(fleet: &mut Fleet, run: &Run) -> Result<Kill> {
    wait_until("the time to kill a server", KILL_DUE_TIMEOUT, || {
        Ok((run.begun() >= traffic::BEFORE_KILL).then_some(()))
    })?;
    let victim = fleet.site.webs.get_mut(VICTIM).context("the lab has no such web server")?;
    let killed = run.now();
    victim.kill_server()?;
    let deadline = run.now() + CHECK_INTERVAL * CHECK_FALL + CHECK_TIMEOUT + SCHEDULING_MARGIN;
    run.set_deadline(deadline);
    Ok(Kill { web: VICTIM, killed, deadline })
}

/// Prints the first failures without excuse.
fn show_failures(samples: &[Sample], kill: &Kill) {
    let unexpected = samples.iter().filter(|sample| !kill.excuses(sample));
    let failures = unexpected.filter_map(|sample| match &sample.outcome {
        Outcome::Failed(failure) => Some((sample, failure)),
        Outcome::Answered(_) => None,
    });
    for (sample, failure) in failures.take(MAX_SHOWN_FAILURES) {
        let lane = Lane::ALL.get(sample.lane).map(|lane| lane.pool()).unwrap_or_default();
        let after_kill = sample.started.as_secs_f64() - kill.killed.as_secs_f64();
        eprintln!("{lane}, begun {after_kill:+.3} s from the kill: {}", failure.text);
    }
}
