//! Requests of the client to the VIPs: a planned run for the check, an endless stream for the live view.
//!
//! Role: threads in the client's namespace that send and record. Imports `lane`, `sample`, `judge` (the kill) and the
//! lab library.
//! Always holds: every request is a connection of its own; all threads end soon after an interrupt or [`Run::stop`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::http;
use lb_tests::lab::{Host, interrupted};

use super::lane::{Family, LANE_COUNT, LANES, Lane, WEB_COUNT};
use super::sample::{Outcome, Sample};

/// Requests to each lane in a planned run.
pub const PER_LANE: u32 = 500;

/// Requests in a planned run.
pub const PLANNED: u32 = PER_LANE * LANES as u32;

/// Requests before the kill.
pub const BEFORE_KILL: u32 = 1_200;

/// Requests from this number on wait for the deadline after the kill: so many at least are judged after it.
const FIRST_AFTER: u32 = 1_800;

/// Pace of a planned run: slow enough that the time from kill to deadline takes few of its requests.
const PLANNED_PER_SECOND: u32 = 400;

/// Threads of a planned run.
const PLANNED_WORKERS: u32 = 8;

/// Pace of the endless stream.
const STREAM_PER_SECOND: u32 = 120;

/// Threads of the endless stream.
const STREAM_WORKERS: u32 = 4;

/// Source port of the first planned request; each later one has the next. All are below the kernel's own choices
/// (`ip_local_port_range`, from 32,768).
const FIRST_PORT: u16 = 10_000;

/// Time that a planned request may take: several retransmissions of a SYN.
const PLANNED_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a request of the stream may take; it also delays the end of the stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest time between two looks at the stop flag.
const SLICE: Duration = Duration::from_millis(50);

/// A planned run: [`PLANNED`] requests, the lanes in turn, each from a source port of its own.
pub struct Run {
    epoch: Instant,
    next: AtomicU32,
    stop: AtomicBool,
    deadline: OnceLock<Duration>,
    samples: Mutex<Vec<Sample>>,
}

impl Run {
    /// Starts the run's clock.
    pub fn new() -> Self {
        Self {
            epoch: Instant::now(),
            next: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            deadline: OnceLock::new(),
            samples: Mutex::default(),
        }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Requests sent, or about to be.
    pub fn begun(&self) -> u32 {
        self.next.load(Ordering::Relaxed).min(PLANNED)
    }

    /// Says by when the killed server's share must have moved; the last requests wait for that.
    pub fn set_deadline(&self, deadline: Duration) {
        // A run has one kill; a second deadline would be ignored.
        let _ = self.deadline.set(deadline);
    }

    /// Ends the run early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Sends every request from `client`; returns when all are answered or failed, or the run was stopped.
    ///
    /// # Errors
    /// When the client's namespace cannot be entered.
    pub fn send_all(&self, client: &Host) -> Result<()> {
        in_threads(client, PLANNED_WORKERS, || self.work())
    }

    /// What became of the requests.
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= PLANNED || !self.wait_for_turn(number) {
                return;
            }
            let lane = Lane::of_request(number);
            let Some(at) = Lane::ALL.get(lane) else { return };
            let started = self.now();
            let outcome = request(*at, Some(planned_source(number, *at)), PLANNED_TIMEOUT);
            let sample = Sample { lane, started, ended: self.now(), outcome };
            self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        }
    }

    /// Waits until a request may start; false when the run is to end.
    fn wait_for_turn(&self, number: u32) -> bool {
        while !self.stop.load(Ordering::Relaxed) && !interrupted() {
            let start = start_of(number, self.deadline.get().copied());
            let left = start.map_or(SLICE, |start| start.saturating_sub(self.now()));
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(SLICE));
        }
        false
    }
}

/// When a planned request may start; none while that depends on a deadline that is not set yet.
fn start_of(number: u32, deadline: Option<Duration>) -> Option<Duration> {
    let due = Duration::from_secs(1) * number / PLANNED_PER_SECOND;
    if number < FIRST_AFTER { Some(due) } else { deadline.map(|deadline| due.max(deadline)) }
}

/// The endless stream's counts.
#[derive(Default)]
pub struct Counters {
    /// By lane.
    pub lanes: [LaneCounters; LANE_COUNT],
    last_error: Mutex<Option<String>>,
}

/// One lane's.
#[derive(Default)]
pub struct LaneCounters {
    /// Answers by web server.
    pub by_web: [AtomicU32; WEB_COUNT],
    /// Requests without a good answer.
    pub errors: AtomicU32,
}

impl Counters {
    /// What the last failed request failed with.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, lane: usize, outcome: Outcome) {
        let Some(counters) = self.lanes.get(lane) else { return };
        match outcome {
            Outcome::Answered(web) => {
                if let Some(count) = counters.by_web.get(web) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Outcome::Failed(failure) => {
                counters.errors.fetch_add(1, Ordering::Relaxed);
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.text);
            }
        }
    }
}

/// Sends requests from `client`, the lanes in turn, until `stop`.
///
/// # Errors
/// When the client's namespace cannot be entered.
pub fn stream(client: &Host, counters: &Counters, stop: &AtomicBool) -> Result<()> {
    let next = AtomicU32::new(0);
    in_threads(client, STREAM_WORKERS, || {
        while !stop.load(Ordering::Relaxed) && !interrupted() {
            let due = Instant::now() + Duration::from_secs(1) * STREAM_WORKERS / STREAM_PER_SECOND;
            let lane = Lane::of_request(next.fetch_add(1, Ordering::Relaxed));
            let Some(at) = Lane::ALL.get(lane) else { return };
            counters.count(lane, request(*at, None, STREAM_TIMEOUT));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    })
}

fn request(lane: Lane, source: Option<SocketAddr>, timeout: Duration) -> Outcome {
    Outcome::of(http::get(lane.server(), "/", source, timeout))
}

/// Any address of the client, and the port of this request.
fn planned_source(number: u32, lane: Lane) -> SocketAddr {
    let any = match lane.family {
        Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let offset = u16::try_from(number).unwrap_or(u16::MAX);
    SocketAddr::new(any, FIRST_PORT.saturating_add(offset))
}

/// Runs `work` in so many threads of a host; returns when all have ended.
fn in_threads(host: &Host, count: u32, work: impl Fn() + Sync) -> Result<()> {
    // A thread starts in the network namespace of the one that starts it.
    host.enter(|| {
        thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(&work);
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planned_request_has_a_source_port_of_its_own_outside_the_kernels_range() {
        let lane = Lane::ALL[0];
        assert_eq!(planned_source(0, lane).port(), FIRST_PORT);
        assert_eq!(u32::from(planned_source(PLANNED - 1, lane).port()), u32::from(FIRST_PORT) + PLANNED - 1);
        assert!(planned_source(PLANNED - 1, lane).port() < 32_768);
    }

    #[test]
    fn the_last_requests_wait_for_their_turn_and_for_the_deadline() {
        let second = Duration::from_secs(1);
        assert_eq!(start_of(PLANNED_PER_SECOND, None), Some(second));
        assert_eq!(start_of(FIRST_AFTER, None), None);
        let turn = second * FIRST_AFTER / PLANNED_PER_SECOND;
        assert_eq!(start_of(FIRST_AFTER, Some(second)), Some(turn));
        assert_eq!(start_of(FIRST_AFTER, Some(turn * 2)), Some(turn * 2));
    }

    #[test]
    fn a_stopped_run_sends_nothing_more() {
        let run = Run::new();
        run.stop();
        assert!(!run.wait_for_turn(PLANNED - 1));
    }
}
