//! The lab `drain`: a backend is drained while it sends downloads and new connections come all along.
//!
//! Imports `bed`.
//! Always holds: a new connection counts as late only if its client began it after the command had returned, so what was
//! under way at that moment is nobody's mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::bed::{Bed, Client, Layout, SETTLING, SOON, poll};
use super::churn::pause;
use super::lane::{Lane, lanes_of};
use super::members::web_name;
use super::progress::Progress;
use crate::lab::Output;
use crate::programs::control::now_us;
use crate::programs::talk;
use crate::site::Mode;

/// Web servers, all of them backends.
const WEBS: u8 = 3;

/// The web server that is drained.
const DRAINED: usize = 0;

/// New connections in a second.
const VISITS_PER_SECOND: u32 = 60;

/// Bytes of a download for each millisecond that it takes.
const BYTES_PER_MS: u64 = 100;

/// Time that the phases and the agent's looks may add to what `--wait` waits for.
const WAIT_MARGIN: Duration = Duration::from_secs(30);

/// Time after the last `--wait` in which a late connection would still be seen.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Forward modes, all at once.
    pub modes: Vec<Mode>,
    /// Downloads in each mode.
    pub downloads: u32,
    /// Time that each takes.
    pub download_time: Duration,
    /// The pools' `flow_timeout`.
    pub flow_timeout: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether there are no findings.
    pub ok: bool,
    /// Connections that broke, downloads and new ones.
    pub broken: u64,
    /// Connections that were begun after `lbctl backend drain` had returned, and reached the drained backend.
    pub new_after_return: u64,
    /// Downloads, in all.
    pub downloads: u64,
    /// Downloads from the drained backend that were under way when it was drained.
    pub downloads_drained: u64,
    /// New connections made meanwhile.
    pub new_connections: u64,
    /// Time from the end of the last download of the drained backend to the end of `--wait`, of the slowest pool.
    pub wait_after_last_ms: Option<i64>,
    /// The same of the fastest pool; below 0 when it did not wait long enough.
    pub wait_after_last_min_ms: Option<i64>,
    /// Whether the drain of the last backend that takes new flows was refused and changed nothing.
    pub last_refused: bool,
    /// Forward modes.
    pub modes: Vec<&'static str>,
    /// The pools' `flow_timeout`.
    pub flow_timeout_seconds: u64,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
}

/// What happened in one lane.
struct Drained {
    lane: Lane,
    /// When the plain command returned.
    returned_us: u64,
    /// When `--wait` returned, and how.
    waited: Result<(u64, Output)>,
}

/// Runs it.
///
/// # Errors
/// When the lab can not be made or breaks, or [`crate::lab::Interrupted`]. What is wrong otherwise is in the summary.
pub fn run(options: &Options, progress: &Progress) -> Result<Summary> {
    let lanes = lanes_of(&options.modes);
    ensure!(!lanes.is_empty() && options.downloads > 0, "nothing to download");
    progress.say(&format!("making the site with {WEBS} servers"));
    let members = usize::from(WEBS);
    let bed = Bed::start(&Layout { webs: WEBS, members, lanes, flow_timeout: options.flow_timeout })?;
    bed.wait_settled()?;
    let client = download(&bed, options, progress)?;

    let drained = drain_all(&bed, options, progress)?;
    progress.say("every --wait has returned");
    pause(AFTERWARDS)?;
    client.tell(talk::NO_VISITS)?;
    let report = wait_ended(&client, options)?;

    let mut summary = summarize(&bed, &client, &report, &drained, options)?;
    match drain_to_the_last(&bed) {
        Ok(refused) => summary.last_refused = refused,
        Err(error) => summary.findings.push(format!("{error:#}")),
    }
    if !summary.last_refused {
        summary
            .findings
            .push("the drain of the last backend was not refused, or changed something".to_owned());
    }
    if summary.broken > 0 {
        bed.explain();
    }
    summary.ok = summary.findings.is_empty();
    Ok(summary)
}

/// Starts downloads and visits; returns when all downloads are under way.
fn download(bed: &Bed, options: &Options, progress: &Progress) -> Result<Client> {
    let downloads = options.downloads * u32::try_from(options.modes.len())?;
    let millis = u64::try_from(options.download_time.as_millis())?;
    let client = bed.start_client(&talk::Plan {
        servers: bed.members.lanes().map(Lane::frontend).collect(),
        talks: 0,
        downloads,
        download_bytes: millis * BYTES_PER_MS,
        download_time: options.download_time,
        visits_per_second: VISITS_PER_SECOND,
        seed: 0,
    })?;
    client.wait_established(0, downloads)?;
    let open = client.report()?.downloads.open;
    progress.say(&format!("downloads under way: {open:?}"));
    // Some new connections before the drain, too.
    pause(options.download_time / 5)?;
    Ok(client)
}

/// Drains one backend in every lane: first the plain command, then one that waits.
fn drain_all(bed: &Bed, options: &Options, progress: &Progress) -> Result<Vec<Drained>> {
    let timeout = options.download_time + (options.flow_timeout + SETTLING) * 2 + WAIT_MARGIN;
    let mut returned = Vec::new();
    for lane in bed.members.lanes() {
        let start = Instant::now();
        bed.edit(&format!("backend drain {}", id(lane)))?;
        returned.push((lane, now_us()));
        progress.say(&format!("drained {} in {} ms", id(lane), start.elapsed().as_millis()));
    }
    thread::scope(|scope| {
        let waits: Vec<_> = returned
            .into_iter()
            .map(|(lane, returned_us)| {
                let words = format!("backend drain {} --wait --timeout {}s", id(lane), timeout.as_secs());
                let wait = scope.spawn(move || -> Result<(u64, Output)> {
                    let output = bed.lbctl(&words, timeout + SOON)?;
                    Ok((now_us(), output))
                });
                (lane, returned_us, wait)
            })
            .collect();
        let ended = waits.into_iter().map(|(lane, returned_us, wait)| {
            let waited = wait.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Drained { lane, returned_us, waited }
        });
        Ok(ended.collect())
    })
}

/// Waits until every download and visit has ended or broken.
fn wait_ended(client: &Client, options: &Options) -> Result<talk::Report> {
    let timeout = options.download_time + talk::PATIENCE + SOON;
    poll("every download has ended", timeout, || {
        let report = client.report()?;
        let over = |tally: &talk::Tally| tally.ended + tally.broken == tally.begun;
        Ok((over(&report.downloads) && over(&report.visits)).then_some(report))
    })
}

fn summarize(
    bed: &Bed,
    client: &Client,
    report: &talk::Report,
    drained: &[Drained],
    options: &Options,
) -> Result<Summary> {
    let mut findings = Vec::new();
    let broken = report.downloads.broken + report.visits.broken;
    if broken > 0 {
        findings.push(format!(
            "{} downloads and {} new connections broke",
            report.downloads.broken, report.visits.broken
        ));
    }
    for failure in report.failures.iter().take(10) {
        eprintln!("broken: {failure:?}");
    }
    let new_after_return = late_connections(bed, client, drained)?;
    if new_after_return > 0 {
        findings.push(format!("{new_after_return} new connections reached the backend after its drain"));
    }
    let downloads = client.downloads()?;
    let mut waits = Vec::new();
    let mut downloads_drained = 0;
    for lane in drained {
        match lane.wait_after_last(&downloads) {
            Ok((count, wait)) => {
                downloads_drained += count;
                waits.push(wait);
            }
            Err(error) => findings.push(format!("{}: {error:#}", lane.lane.pool())),
        }
    }
    if waits.iter().any(|wait| *wait < 0) {
        findings.push("a --wait returned before the last download had ended".to_owned());
    }
    Ok(Summary {
        ok: false,
        broken,
        new_after_return,
        downloads: report.downloads.begun,
        downloads_drained,
        new_connections: report.visits.begun,
        wait_after_last_ms: waits.iter().copied().max(),
        wait_after_last_min_ms: waits.iter().copied().min(),
        last_refused: false,
        modes: options.modes.iter().map(|mode| mode.name()).collect(),
        flow_timeout_seconds: options.flow_timeout.as_secs(),
        findings,
    })
}

impl Drained {
    /// Downloads of the drained backend in this lane, and the milliseconds from the end of the last to that of `--wait`.
    fn wait_after_last(&self, downloads: &[talk::Download]) -> Result<(u64, i64)> {
        let (waited_us, output) = match &self.waited {
            Ok(waited) => waited,
            Err(error) => bail!("--wait: {error:#}"),
        };
        if !output.status.success() {
            bail!("--wait: {}: {}", output.status, output.stderr.trim());
        }
        let server = web_name(DRAINED);
        let (vip, returned_us) = (self.lane.frontend(), self.returned_us);
        let its = downloads.iter().filter(|download| download.vip == vip && download.server == server);
        // A download that broke has no end; it is counted as broken.
        let ended = its.filter_map(|download| download.ended_us).filter(|ended_us| *ended_us > returned_us);
        let (count, last_us) = ended.fold((0, None), |(count, last), end| (count + 1, last.max(Some(end))));
        let last_us = last_us.context("no download of the drained backend outlasted the command")?;
        Ok((count, (i64::try_from(*waited_us)? - i64::try_from(last_us)?) / 1_000))
    }
}

/// Connections that the drained backend accepted although their client began them after the drain had returned.
fn late_connections(bed: &Bed, client: &Client, drained: &[Drained]) -> Result<u64> {
    let returned: BTreeMap<SocketAddr, u64> =
        drained.iter().map(|lane| (lane.lane.frontend(), lane.returned_us)).collect();
    let accepted: BTreeSet<(SocketAddr, u64)> =
        bed.accepts(DRAINED)?.into_iter().map(|accept| (accept.peer, accept.at_us)).collect();
    let mut late = 0;
    for visit in client.visits()? {
        let (Some(local), Some(returned_us)) = (visit.local, returned.get(&visit.vip)) else { continue };
        if visit.begun_us <= *returned_us {
            continue;
        }
        // By what the server accepted as well as by what the client was answered: either is enough.
        let accepts = accepted.range((local, visit.begun_us)..=(local, visit.ended_us));
        let answered = visit.server.as_deref() == Some(web_name(DRAINED).as_str());
        late += u64::from(answered || accepts.count() > 0);
    }
    Ok(late)
}

/// Drains all but one backend of a lane, then the last: whether that is refused and changes nothing.
fn drain_to_the_last(bed: &Bed) -> Result<bool> {
    let lane = bed.members.lanes().next().context("no lane")?;
    let last = usize::from(WEBS) - 1;
    for web in 0..last {
        bed.edit(&format!("backend drain {}/{}", lane.pool(), web_name(web)))?;
    }
    let (text, generation, tables) = (bed.config_file()?, bed.generation()?, bed.slot_tables()?);
    let output = bed.lbctl(&format!("backend drain {}/{}", lane.pool(), web_name(last)), SOON)?;
    let unchanged =
        text == bed.config_file()? && generation == bed.generation()? && tables == bed.slot_tables()?;
    Ok(output.status.code() == Some(1) && unchanged)
}

fn id(lane: Lane) -> String {
    format!("{}/{}", lane.pool(), web_name(DRAINED))
}
