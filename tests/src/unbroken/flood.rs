//! The lab `flood`: established connections, a backend that is drained, and as many SYNs from random addresses as the
//! machine gives, through every phase of the slots.
//!
//! The SYNs arrive at the node's card from the other end of its cable, and are taken off the cable behind the node: it is
//! the load balancer that is tried, and the servers have the same few processors. Imports `bed`, `syn`.
//! Always holds: the flood goes on until the drain has ended or its time is up; what is counted is what the datapath saw.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::bed::{Bed, Client, Flows, Layout, SETTLING, poll};
use super::churn::pause;
use super::lane::{Lane, lanes_of};
use super::members::web_name;
use super::progress::Progress;
use super::syn::{self, SynFlood};
use crate::lab::interrupted;
use crate::programs::talk;
use crate::site::Mode;

/// Web servers, all of them backends.
const WEBS: u8 = 3;

/// The web server that is drained.
const DRAINED: usize = 0;

/// Bytes of a download in a second.
const DOWNLOAD_BYTES_PER_SECOND: u64 = 20_000;

/// SYNs that are sent to one VIP before the next one's turn. Each call of the kernel takes some 15 ms to begin and end
/// (Linux 6.18, page pools made and freed), so it has to be a large number.
const BURST: u32 = 65_536;

/// SYNs in a second at most: what the issue asks for.
const MAX_SYNS_PER_SECOND: u32 = 1_000_000;

/// Pause after each burst, as a part of the time that it took: the servers need the processors too.
const PAUSE_PER_BURST: f64 = 0.2;

/// Niceness of the thread that sends the SYNs.
const NICENESS: i32 = 10;

/// Time from the start of the flood to the drain.
const LEAD: Duration = Duration::from_secs(1);

/// Time that the drain may take after the connections of the drained backend have ended, beyond what its phases need.
const DRAIN_MARGIN: Duration = Duration::from_secs(20);

/// Time beyond [`talk::PATIENCE`] in which a connection that broke at the end of the flood is seen.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Failures that are told one by one.
const MAX_TOLD: usize = 10;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Forward modes, all at once.
    pub modes: Vec<Mode>,
    /// Established connections that exchange a line every second or two.
    pub talks: u32,
    /// Downloads under way for as long as the flood lasts.
    pub downloads: u32,
    /// Time that the flood lasts at least.
    pub time: Duration,
    /// The pools' `flow_timeout`.
    pub flow_timeout: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Whether there are no findings.
    pub ok: bool,
    /// Established connections that broke.
    pub broken: u64,
    /// SYNs that the datapath saw in a second, on average.
    pub syns_per_second: u64,
    /// SYNs that the datapath saw.
    pub syns: u64,
    /// SYNs that were sent; the others found the node's queue full.
    pub syns_sent: u64,
    /// Whether the drain ended while the flood went on.
    pub drained: bool,
    /// Time from the end of the drained backend's connections to the end of the drain in every pool.
    pub drained_after_ms: Option<u64>,
    /// Established connections.
    pub connections: u64,
    /// Downloads among them.
    pub downloads: u64,
    /// How long the flood lasted.
    pub seconds: f64,
    /// The flow table at the end of the flood.
    pub flows: Flows,
    /// Forward modes.
    pub modes: Vec<&'static str>,
    /// The pools' `flow_timeout`.
    pub flow_timeout_seconds: u64,
    /// What is wrong, a sentence each.
    pub findings: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When the lab can not be made or breaks, or [`crate::lab::Interrupted`]. What is wrong otherwise is in the summary.
pub fn run(options: &Options, progress: &Progress) -> Result<Summary> {
    let lanes = lanes_of(&options.modes);
    ensure!(!lanes.is_empty() && options.talks > 0, "no connections to hold");
    progress.say(&format!("making the site with {WEBS} servers"));
    let members = usize::from(WEBS);
    let bed = Bed::start(&Layout { webs: WEBS, members, lanes, flow_timeout: options.flow_timeout })?;
    let _sink = sink(&bed)?;
    bed.wait_settled()?;
    let client = connect(&bed, options, progress)?;
    let seen_before = bed.new_connections()?;
    let flooded = flood_and_drain(&bed, &client, options, progress)?;
    let (flows, syns) = (bed.flows()?, bed.new_connections()?.saturating_sub(seen_before));
    progress.say("the flood is over; the connections go on for a moment");
    // As long as it takes to notice that one is silent.
    pause(talk::PATIENCE + AFTERWARDS)?;
    let report = client.report()?;
    client.tell(talk::STOP)?;
    let findings = judge(&report, &flooded, syns);
    if report.talks.broken + report.downloads.broken > 0 {
        for failure in report.failures.iter().take(MAX_TOLD) {
            eprintln!("broken at {:.1} s: {failure:?}", progress.at(failure.at_us).as_secs_f64());
        }
        bed.explain();
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Summary {
        ok: findings.is_empty(),
        broken: report.talks.broken + report.downloads.broken,
        syns_per_second: per_second(syns, flooded.time),
        syns,
        syns_sent: flooded.sent,
        drained: flooded.drained_after.is_some(),
        drained_after_ms: flooded.drained_after.map(millis),
        connections: report.talks.begun + report.downloads.begun,
        downloads: report.downloads.begun,
        seconds: (flooded.time.as_secs_f64() * 10.0).round() / 10.0,
        flows,
        modes: options.modes.iter().map(|mode| mode.name()).collect(),
        flow_timeout_seconds: options.flow_timeout.as_secs(),
        findings,
    })
}

/// What happened during the flood.
struct Flooded {
    /// How long it lasted.
    time: Duration,
    /// SYNs sent.
    sent: u64,
    /// Time from the end of the drained backend's connections to that of the drain.
    drained_after: Option<Duration>,
}

fn flood_and_drain(bed: &Bed, client: &Client, options: &Options, progress: &Progress) -> Result<Flooded> {
    let (stop, sent, start) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let (drained, flooded) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(bed, &stop, &sent));
        let drained = drain_meanwhile(bed, client, options, progress, &sent);
        stop.store(true, Ordering::Relaxed);
        (drained, flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    flooded?;
    Ok(Flooded { time: start.elapsed(), sent: sent.into_inner(), drained_after: drained? })
}

/// What is wrong, a sentence each.
fn judge(report: &talk::Report, flooded: &Flooded, syns: u64) -> Vec<String> {
    let (talks, downloads) = (report.talks.broken, report.downloads.broken);
    let findings = [
        (talks + downloads > 0, format!("{talks} connections and {downloads} downloads broke")),
        (flooded.drained_after.is_none(), "the drain did not end while the flood went on".to_owned()),
        (syns == 0, "the datapath saw no SYN of the flood".to_owned()),
    ];
    findings.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, finding)| finding).collect()
}

fn connect(bed: &Bed, options: &Options, progress: &Progress) -> Result<Client> {
    // Longer than the flood can last.
    let download_time = options.time + phases(options) * 3 + DRAIN_MARGIN * 2;
    let client = bed.start_client(&talk::Plan {
        servers: bed.members.lanes().map(Lane::frontend).collect(),
        talks: options.talks,
        downloads: options.downloads,
        download_bytes: download_time.as_secs() * DOWNLOAD_BYTES_PER_SECOND,
        download_time,
        visits_per_second: 0,
        seed: 0,
    })?;
    client.wait_established(options.talks, options.downloads)?;
    let report = client.report()?;
    progress.say(&format!("connections: {:?}; downloads: {:?}", report.talks.open, report.downloads.open));
    let drained = web_name(DRAINED);
    ensure!(report.talks.open.get(&drained).is_some_and(|count| *count > 0), "no connection to {drained}");
    Ok(client)
}

/// The longest that slots learn and settle.
fn phases(options: &Options) -> Duration {
    options.flow_timeout + SETTLING
}

/// Drains a backend, ends its connections when every slot is past learning, and waits for the end of the drain; the
/// flood lasts as long as this does. Returns how long the end of the drain took, if it came.
fn drain_meanwhile(
    bed: &Bed,
    client: &Client,
    options: &Options,
    progress: &Progress,
    sent: &AtomicU64,
) -> Result<Option<Duration>> {
    let start = Instant::now();
    pause(LEAD)?;
    ensure!(sent.load(Ordering::Relaxed) > 0, "no SYN was sent in {LEAD:?}");
    for lane in bed.members.lanes() {
        bed.edit(&format!("backend drain {}/{}", lane.pool(), web_name(DRAINED)))?;
    }
    progress.say(&format!("drained {} in every pool; the flood goes on", web_name(DRAINED)));
    pause(phases(options) + Duration::from_secs(1))?;
    let sent_so_far = sent.load(Ordering::Relaxed);
    let flows = bed.flows()?;
    progress.say(&format!("{sent_so_far} SYNs sent; {flows:?}; ending {}'s connections", web_name(DRAINED)));
    client.tell(&format!("{} {}", talk::LEAVE, web_name(DRAINED)))?;
    let left = Instant::now();
    let mut waiting: BTreeSet<Lane> = bed.members.lanes().collect();
    let ended = poll("the end of the drain", phases(options) * 2 + DRAIN_MARGIN, || {
        let backends = bed.backends()?;
        waiting.retain(|lane| {
            let its = backends.iter().find(|it| it.is(&lane.pool(), &web_name(DRAINED)));
            !its.is_some_and(|it| it.drained)
        });
        Ok(waiting.is_empty().then(|| left.elapsed()))
    });
    let ended = match ended {
        Ok(time) => Some(time),
        Err(error) if waiting.is_empty() || interrupted() => return Err(error),
        Err(_) => None,
    };
    progress.say(&match ended {
        Some(time) => format!("the drain ended {:.1} s after the connections", time.as_secs_f64()),
        None => format!("the drain does not end; {}", remembered(bed)?),
    });
    pause(options.time.saturating_sub(start.elapsed()))?;
    Ok(ended)
}

/// What the drained backend is still remembered for.
fn remembered(bed: &Bed) -> Result<String> {
    let name = web_name(DRAINED);
    let its = bed.backends()?.into_iter().filter(|it| it.name == name);
    let each: Vec<_> = its.map(|it| format!("{}: {}", it.pool, it.remembered_flows)).collect();
    Ok(format!("flows remembered of {name}: {}", each.join(", ")))
}

/// Takes the SYNs off the cable where they leave the node for the servers.
fn sink(bed: &Bed) -> Result<OwnedFd> {
    bed.fleet.back.host().enter(|| syn::attach_sink(port_of_node(bed)?))?
}

/// Index of the node's port in the calling thread's namespace, which is that of a bridge: it has the host's name.
fn port_of_node(bed: &Bed) -> Result<u32> {
    let name = bed.fleet.node.name();
    let socket = std::net::UdpSocket::bind("[::]:0")?;
    rustix::net::netdevice::name_to_index(&socket, name).with_context(|| format!("the port of {name}"))
}

/// Sends SYNs to every VIP in turn until `stop`, from the other end of the node's cable.
fn flood(bed: &Bed, stop: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let (node, port) = bed.fleet.node_front.macs();
    bed.fleet.front.host().enter(|| {
        let index = port_of_node(bed)?;
        let floods = bed.members.lanes().map(|lane| SynFlood::new(lane.frontend(), index, port, node));
        let floods = floods.collect::<Result<Vec<_>>>()?;
        be_nice();
        for flood in floods.iter().cycle() {
            if stop.load(Ordering::Relaxed) || interrupted() {
                return Ok(());
            }
            let start = Instant::now();
            flood.send(BURST)?;
            sent.fetch_add(BURST.into(), Ordering::Relaxed);
            let least = Duration::from_secs(1) * BURST / MAX_SYNS_PER_SECOND;
            thread::sleep(
                start.elapsed().mul_f64(PAUSE_PER_BURST).max(least.saturating_sub(start.elapsed())),
            );
        }
        Ok(())
    })?
}

/// Lets the servers and the client go first. A thread that stays as it is, is no reason to fail.
fn be_nice() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        eprintln!("the flood stays as important as the servers: {error}");
    }
}

fn per_second(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / millis
}
