//! The unattended check: a failure in each tier, one after another, under load; each must be seen in time, and what was not
//! under way on the dead process must not fail.
//!
//! Always holds: the last fault's repair is over before the judgement; the site is gone when [`run`] returns.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::agent::Event;
use super::faults::{FAULTS, Fault};
use super::load::{Load, Request};
use super::site::Site;
use crate::lab::wait_until;
use crate::unbroken::Progress;

/// Time beyond the bound for a machine with two processors to run what is due.
const SCHEDULING_MARGIN: Duration = Duration::from_millis(250);

/// Time until the agent must have told of a fault, for the sake of a report rather than of the bound.
const TOLD_TIMEOUT: Duration = Duration::from_secs(30);

/// Undisturbed load before each fault.
const CALM: Duration = Duration::from_secs(2);

/// Unexpected failures that are shown one by one.
const MAX_SHOWN: usize = 10;

/// What came of the check.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether all was well.
    pub ok: bool,
    /// Each fault.
    pub failures: Vec<Judged>,
    /// Requests in all.
    pub requests: usize,
    /// Those that failed although nothing excuses them.
    pub unexpected_failures: usize,
}

/// What came of a fault.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// What happened.
    pub what: &'static str,
    /// From the fault until the agent had told of it.
    pub detection_ms: u64,
    /// Time in which it had to: interval × fall + timeout of the check.
    pub bound_ms: u64,
    /// Requests that failed and were under way or sent between the fault and the moment when nobody was sent there any more.
    pub failed_requests: usize,
}

/// When a fault began, and when its effect was over.
struct Window {
    from: SystemTime,
    to: SystemTime,
    detected: SystemTime,
}

/// Runs the check.
///
/// # Errors
/// When the site cannot be made or breaks.
pub fn run(progress: &Progress) -> Result<Summary> {
    let mut site = Site::start(&|text| progress.say(text))?;
    let outcome = exercise(&mut site, progress);
    outcome.map_err(|error| error.context(site.agent.explain()))
}

fn exercise(site: &mut Site, progress: &Progress) -> Result<Summary> {
    let load = Load::start(&site.client);
    let mut windows = Vec::new();
    for fault in &FAULTS {
        thread::sleep(CALM);
        progress.say(fault.what);
        let window = strike(site, fault).with_context(|| fault.what.to_owned())?;
        progress.say(&format!("  seen after {} ms", between_ms(window.from, window.detected)));
        windows.push(window);
        (fault.mend)(site).with_context(|| format!("mending: {}", fault.what))?;
        site.wait_until_settled(fault.mended).with_context(|| format!("after: {}", fault.what))?;
    }
    thread::sleep(CALM);
    Ok(judge(&load.stop()?, &windows))
}

/// Breaks it, and waits until the agent has told of it and nobody is sent there any more.
fn strike(site: &mut Site, fault: &Fault) -> Result<Window> {
    let before = SystemTime::now();
    let from = (fault.strike)(site)?;
    let (kind, subject) = fault.event;
    let told = |event: &Event| {
        event.unix_time_ms >= unix_ms(before)
            && event.kind == kind
            && event.subject.as_deref() == Some(subject)
    };
    let event = wait_until(&format!("the event {kind} of {subject}"), TOLD_TIMEOUT, || {
        Ok(site.agent.events()?.into_iter().find(told))
    })?;
    site.wait_until_settled(fault.serving)?;
    let detected = UNIX_EPOCH + Duration::from_millis(event.unix_time_ms);
    Ok(Window { from: before, to: SystemTime::now(), detected: detected.max(from) })
}

fn judge(requests: &[Request], windows: &[Window]) -> Summary {
    let mut failed = vec![0; windows.len()];
    let mut unexpected = Vec::new();
    for request in requests.iter().filter(|request| request.outcome.is_err()) {
        let excuse = FAULTS.iter().zip(windows).enumerate().position(|(at, (fault, window))| {
            let repair = windows.get(at + 1).filter(|_| fault.lasts).unwrap_or(window);
            fault.may_fail.contains(&request.kind)
                && request.ended >= window.from
                && request.started <= repair.to
        });
        match excuse.and_then(|at| failed.get_mut(at)) {
            Some(count) => *count += 1,
            None => unexpected.push(request),
        }
    }
    for request in unexpected.iter().take(MAX_SHOWN) {
        eprintln!(
            "unexpected: {} at {}: {:?}",
            request.kind.name(),
            unix_ms(request.started),
            request.outcome
        );
    }
    let failures: Vec<Judged> = FAULTS
        .iter()
        .zip(windows)
        .zip(failed)
        .map(|((fault, window), failed_requests)| Judged {
            what: fault.what,
            detection_ms: between_ms(window.from, window.detected),
            bound_ms: millis(fault.bound),
            failed_requests,
        })
        .collect();
    let in_time = |judged: &Judged| judged.detection_ms <= judged.bound_ms + millis(SCHEDULING_MARGIN);
    let ok = unexpected.is_empty() && failures.iter().all(in_time);
    Summary { ok, failures, requests: requests.len(), unexpected_failures: unexpected.len() }
}

impl Summary {
    /// Fails if something was not well.
    ///
    /// # Errors
    /// When it was not.
    pub fn expect_ok(&self) -> Result<()> {
        ensure!(self.ok, "{self:#?}");
        Ok(())
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn between_ms(from: SystemTime, to: SystemTime) -> u64 {
    millis(to.duration_since(from).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
