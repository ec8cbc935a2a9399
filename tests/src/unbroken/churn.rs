//! The lab `churn`: many established connections, new ones all along, and changes of every kind meanwhile.
//!
//! Imports `bed`, `plan`, `slots`.
//! Always holds: connections live on after the last change until every slot has gone through all its phases, and longer
//! than a silent one takes to be noticed.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::bed::{Bed, Client, Flows, Layout, SETTLING, SOON, poll};
use super::lane::{Lane, lanes_of};
use super::members::{Member, backend_address, web_name};
use super::plan::{Change, Kind, Planner};
use super::progress::Progress;
use super::slots::Moved;
use crate::lab::{Interrupted, interrupted};
use crate::programs::talk;
use crate::site::Mode;

/// Web servers.
const WEBS: u8 = 8;

/// Web servers that are backends at the start.
const MEMBERS: usize = 6;

/// New connections in a second, beside the established ones.
const VISITS_PER_SECOND: u32 = 40;

/// Connections to one VIP at most: a client has so many ports.
const MAX_PER_LANE: u32 = 50_000;

/// Moved slots for each that has to move, at most.
const MAX_MOVED_OVER_IDEAL: f64 = 1.1;

/// Time beyond the phases that a slot may take to be forgotten.
const FORGET_MARGIN: Duration = Duration::from_secs(20);

/// Time between two looks at an interrupt while the lab pauses.
const SLICE: Duration = Duration::from_millis(50);

/// Failures that are told one by one.
const MAX_TOLD: usize = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Established connections.
    pub connections: u32,
    /// Changes.
    pub changes: u32,
    /// Forward modes, all at once.
    pub modes: Vec<Mode>,
    /// Where the order of the changes comes from.
    pub seed: u64,
    /// The pools' `flow_timeout`.
    pub flow_timeout: Duration,
    /// Time from the start of one change to the start of the next, unless it takes longer.
    pub pace: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether there are no findings.
    pub ok: bool,
    /// Established connections.
    pub connections: u32,
    /// Connections that broke, established ones and new ones.
    pub broken: u64,
    /// Established connections that broke.
    pub broken_established: u64,
    /// New connections made meanwhile.
    pub new_connections: u64,
    /// New connections that were not answered.
    pub broken_new: u64,
    /// Moved slots for each that had to move, of the worst change.
    pub moved_over_ideal: Option<f64>,
    /// The same on average, over the changes that moved something.
    pub moved_over_ideal_mean: Option<f64>,
    /// Slots moved where none had to.
    pub moved_needlessly: usize,
    /// Flows recorded during the changes.
    pub flows_recorded: u64,
    /// Entries of the flow table with all connections established before the first change, or at the end, whichever is
    /// more.
    pub steady_flow_entries: u64,
    /// Changes made.
    pub changes: u32,
    /// Changes by kind.
    pub kinds: BTreeMap<&'static str, u32>,
    /// Forward modes.
    pub modes: Vec<&'static str>,
    /// Where the order of the changes came from.
    pub seed: u64,
    /// The pools' `flow_timeout`.
    pub flow_timeout_seconds: u64,
    /// The flow table when the last change was done.
    pub flows_after_changes: Flows,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
}

/// Slots moved by all changes so far.
#[derive(Default)]
struct Moves {
    ratios: Vec<f64>,
    needless: usize,
}

/// A run under way.
struct Run<'a> {
    options: &'a Options,
    progress: &'a Progress,
    bed: Bed,
    moves: Moves,
    kinds: BTreeMap<&'static str, u32>,
    /// When each change began, and what it was.
    log: Vec<(Duration, String)>,
}

/// Runs it.
///
/// # Errors
/// When the lab can not be made or breaks, or [`Interrupted`]. Broken connections are findings of the summary.
pub fn run(options: &Options, progress: &Progress) -> Result<Summary> {
    let lanes = lanes_of(&options.modes);
    let per_lane = options.connections / u32::try_from(lanes.len())?.max(1);
    ensure!(!lanes.is_empty() && options.connections > 0, "no connections to hold");
    ensure!(
        per_lane <= MAX_PER_LANE,
        "a client can hold {MAX_PER_LANE} connections to a VIP, not {per_lane}"
    );
    progress.say(&format!("seed {}; making the site with {WEBS} servers", options.seed));
    let layout = Layout { webs: WEBS, members: MEMBERS, lanes, flow_timeout: options.flow_timeout };
    let bed = Bed::start(&layout)?;
    let run =
        Run { options, progress, bed, moves: Moves::default(), kinds: BTreeMap::new(), log: Vec::new() };
    run.run()
}

impl Run<'_> {
    fn run(mut self) -> Result<Summary> {
        let settled = self.bed.wait_settled()?;
        let client = self.connect()?;
        let before = self.bed.flows()?;
        self.progress.say(&format!("{} flow entries with all connections", before.entries));
        self.change_all(&client)?;
        let after = self.bed.flows()?;
        self.live_on(&client)?;
        let report = client.report()?;
        client.tell(talk::STOP)?;
        let left = self.wait_forgotten()?;
        if report.talks.broken + report.visits.broken > 0 {
            self.tell_failures(&report);
            self.bed.explain();
        }
        let mut findings = self.judge(&report, &before, &after, left);
        if !settled {
            findings.push("slots do not become stable after the start".to_owned());
        }
        let (talks, visits) = (&report.talks, &report.visits);
        Ok(Summary {
            ok: findings.is_empty(),
            connections: self.options.connections,
            broken: talks.broken + visits.broken,
            broken_established: talks.broken,
            new_connections: visits.begun,
            broken_new: visits.broken,
            moved_over_ideal: self.moves.worst().map(round),
            moved_over_ideal_mean: self.moves.mean().map(round),
            moved_needlessly: self.moves.needless,
            flows_recorded: after.recorded.saturating_sub(before.recorded),
            steady_flow_entries: before.entries.max(left),
            changes: self.kinds.values().sum(),
            kinds: self.kinds,
            modes: self.options.modes.iter().map(|mode| mode.name()).collect(),
            seed: self.options.seed,
            flow_timeout_seconds: self.options.flow_timeout.as_secs(),
            flows_after_changes: after,
            findings,
        })
    }

    /// What is wrong, a sentence each. `before` and `after` are the flow table around the changes, and `left` is what it
    /// had at the end.
    fn judge(&self, report: &talk::Report, before: &Flows, after: &Flows, left: u64) -> Vec<String> {
        let (talks, visits) = (&report.talks, &report.visits);
        let accounted = talks.open_count() + talks.broken == u64::from(self.options.connections);
        let worst = self.moves.worst();
        let findings = [
            (before.entries > 0, format!("{} flow entries before the first change", before.entries)),
            (left > 0, format!("{left} flow entries after the connections ended")),
            (
                talks.broken + visits.broken > 0,
                format!("{} established and {} new connections broke", talks.broken, visits.broken),
            ),
            (
                !accounted || visits.ended == 0,
                format!("not every connection is accounted for: {talks:?}, {visits:?}"),
            ),
            (after.capacity == 0, "`lbctl status` says nothing of a flow table".to_owned()),
            (
                after.recorded <= before.recorded,
                "no flow was recorded although slots changed hands".to_owned(),
            ),
            (worst.is_none(), "no change moved a slot".to_owned()),
            (
                worst.is_some_and(|worst| worst > MAX_MOVED_OVER_IDEAL),
                format!(
                    "a change moved {:.3} times as many slots as it had to ({MAX_MOVED_OVER_IDEAL} is allowed)",
                    worst.unwrap_or_default()
                ),
            ),
        ];
        findings.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, finding)| finding).collect()
    }

    fn connect(&self) -> Result<Client> {
        let connections = self.options.connections;
        self.progress.say(&format!("making {connections} connections"));
        let client = self.bed.start_client(&talk::Plan {
            servers: self.bed.members.lanes().map(Lane::frontend).collect(),
            talks: connections,
            downloads: 0,
            download_bytes: 0,
            download_time: Duration::ZERO,
            visits_per_second: VISITS_PER_SECOND,
            seed: self.options.seed,
        })?;
        client.wait_established(connections, 0)?;
        let report = client.report()?;
        let by_server = report.talks.open;
        self.progress.say(&format!("established: {by_server:?}; broken: {}", report.talks.broken));
        Ok(client)
    }

    fn change_all(&mut self, client: &Client) -> Result<()> {
        let mut planner = Planner::new(self.options.seed, self.options.changes, self.bed.fleet.webs.len());
        let mut due = Instant::now();
        while let Some(change) = planner.next(&self.bed.members) {
            pause(due.saturating_duration_since(Instant::now()))?;
            due = Instant::now() + self.options.pace;
            *self.kinds.entry(change.kind().name()).or_default() += 1;
            let what = describe(&change);
            self.log.push((self.progress.elapsed(), what.clone()));
            let moved = self.make(change, planner.number())?;
            let report = client.report()?;
            self.progress.say(&format!(
                "change {}/{}: {what}: {moved}; broken so far: {} of {}, and {} of {} new ones",
                planner.number(),
                self.options.changes,
                report.talks.broken,
                report.talks.begun,
                report.visits.broken,
                report.visits.begun,
            ));
        }
        Ok(())
    }

    /// Makes one change; says what it moved.
    fn make(&mut self, change: Change, number: u32) -> Result<String> {
        let before = self.bed.slot_tables()?;
        match change {
            Change::Backend { kind, lane, web, weight } => {
                self.bed.edit(&self.command(kind, lane, web, weight)?)?;
                let members = &mut self.bed.members;
                match kind {
                    Kind::Add => members.put(lane, web, Member { weight, drained_at: None }),
                    Kind::Remove | Kind::RemoveDrained => members.remove(lane, web),
                    Kind::Drain => members.change(lane, web, |member| member.drained_at = Some(number)),
                    Kind::Undrain => members.change(lane, web, |member| member.drained_at = None),
                    Kind::Weight => members.change(lane, web, |member| member.weight = weight),
                    Kind::Flap | Kind::Reload => {}
                }
                // A new backend has slots when its check succeeded.
                self.bed.wait_served()?;
                self.moves.count(&before, &self.bed.slot_tables()?)
            }
            Change::Reload { members, .. } => {
                self.bed.members = members;
                self.bed.write_config()?;
                self.bed.edit("reload")?;
                self.bed.wait_served()?;
                self.moves.count(&before, &self.bed.slot_tables()?)
            }
            Change::Flap { web, hold_ms } => {
                self.bed.tell_server(web, crate::programs::echo::SICK)?;
                self.bed.wait_down(web)?;
                let down = self.bed.slot_tables()?;
                let went = self.moves.count(&before, &down)?;
                pause(Duration::from_millis(hold_ms))?;
                self.bed.tell_server(web, crate::programs::echo::WELL)?;
                self.bed.wait_served()?;
                let came = self.moves.count(&down, &self.bed.slot_tables()?)?;
                Ok(format!("{went}, and back {came}"))
            }
        }
    }

    /// The words for `lbctl`.
    fn command(&self, kind: Kind, lane: Lane, web: usize, weight: u32) -> Result<String> {
        let id = format!("{}/{}", lane.pool(), web_name(web));
        let host = self.bed.fleet.webs.get(web);
        Ok(match kind {
            Kind::Add => {
                let address = host.map(|web| backend_address(lane, web)).unwrap_or_default();
                format!("backend add {id} {address} --weight {weight}")
            }
            Kind::Drain => format!("backend drain {id}"),
            Kind::Undrain => format!("backend undrain {id}"),
            Kind::Remove | Kind::RemoveDrained => format!("backend remove {id}"),
            Kind::Weight => format!("backend weight {id} {weight}"),
            Kind::Flap | Kind::Reload => anyhow::bail!("{} is no command", kind.name()),
        })
    }

    /// Lets the connections live until slots have been through all phases, and silent ones are noticed.
    fn live_on(&self, client: &Client) -> Result<()> {
        let phases = self.options.flow_timeout + SETTLING;
        let time = phases.max(talk::PATIENCE) + Duration::from_secs(4);
        self.progress.say(&format!("no more changes; the connections go on for {} s", time.as_secs()));
        pause(time)?;
        client.tell(talk::NO_VISITS)?;
        // Visits under way end or break.
        poll("no visit is under way", SOON, || {
            let visits = client.report()?.visits;
            Ok((visits.ended + visits.broken == visits.begun).then_some(()))
        })
    }

    /// Waits until the flow table is empty; how many entries it has if that takes too long.
    fn wait_forgotten(&self) -> Result<u64> {
        self.progress.say("the connections end; the flow table has to become empty");
        let timeout = (self.options.flow_timeout + SETTLING) * 2 + FORGET_MARGIN;
        let mut entries = u64::MAX;
        let empty = poll("an empty flow table", timeout, || {
            entries = self.bed.flows()?.entries;
            Ok((entries == 0).then_some(()))
        });
        match empty {
            Err(error) if entries == u64::MAX || interrupted() => Err(error),
            _ => Ok(entries),
        }
    }

    /// Prints the first failures, each with the change before it.
    fn tell_failures(&self, report: &talk::Report) {
        for failure in report.failures.iter().take(MAX_TOLD) {
            let at = self.progress.at(failure.at_us);
            let change = self.log.iter().rev().find(|(since, _)| *since <= at);
            let (since, what) = change.map_or((Duration::ZERO, "start"), |(since, what)| (*since, what));
            eprintln!(
                "broken at {:.1} s ({:.1} s after: {what}): {} to {}, from {:?}, with {}: {}",
                at.as_secs_f64(),
                at.saturating_sub(since).as_secs_f64(),
                failure.kind,
                failure.vip,
                failure.local,
                failure.server.as_deref().unwrap_or("nobody yet"),
                failure.text,
            );
        }
    }
}

impl Moves {
    /// Counts what changed between all tables; says it.
    fn count(
        &mut self,
        before: &BTreeMap<Lane, Vec<u32>>,
        after: &BTreeMap<Lane, Vec<u32>>,
    ) -> Result<String> {
        let mut all = Moved::default();
        for (before, after) in before.values().zip(after.values()) {
            let moved = Moved::between(before, after)?;
            match moved.over_least() {
                Some(ratio) => self.ratios.push(ratio),
                None => self.needless += moved.count,
            }
            all.count += moved.count;
            all.least += moved.least;
        }
        Ok(format!("{} slots moved, {} had to", all.count, all.least))
    }

    fn worst(&self) -> Option<f64> {
        self.ratios.iter().copied().reduce(f64::max)
    }

    fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.ratios.len()).ok().filter(|count| *count > 0)?;
        Some(self.ratios.iter().sum::<f64>() / f64::from(count))
    }
}

/// A seed of its own for each run, short enough to be typed.
pub fn any_seed() -> u64 {
    fastrand::u32(..).into()
}

fn describe(change: &Change) -> String {
    match change {
        Change::Backend { kind, lane, web, weight } => {
            let weight = match kind {
                Kind::Add | Kind::Weight => format!(" {weight}"),
                _ => String::new(),
            };
            format!("{} {}/{}{weight}", kind.name(), lane.pool(), web_name(*web))
        }
        Change::Flap { web, hold_ms } => format!("flap {} for {hold_ms} ms", web_name(*web)),
        Change::Reload { lane, .. } => format!("reload {} edited by hand", lane.pool()),
    }
}

/// Lets time pass.
pub(super) fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if interrupted() {
            return Err(Interrupted.into());
        }
        thread::sleep(SLICE.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

fn round(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}
