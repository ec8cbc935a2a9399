//! The live view: a gentle stream of requests, and which web server answers how many.
//!
//! Role: shows a fleet until Ctrl-C. Imports the other files of the lab.
//! Always holds: on a terminal the table is drawn over its former self; elsewhere only whole lines are printed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::lab::{Interrupted, interrupted};

use super::backends::{self, Backend};
use super::fleet::Fleet;
use super::lane::{LANE_COUNT, Lane, WEB_COUNT, web_name};
use super::traffic::{self, Counters};
use crate::text::columns;

/// Time between two drawings on a terminal.
const REDRAW: Duration = Duration::from_millis(500);

/// Time between two tables where no terminal is.
const REPRINT: Duration = Duration::from_secs(5);

/// Longest time between two looks at the interrupt flag.
const SLICE: Duration = Duration::from_millis(50);

/// Characters of a line, at most: a line that the terminal wraps makes the next drawing start in the wrong place.
const MAX_WIDTH: usize = 79;

/// Columns of the table: mode, family, VIP, errors, and one for each web server.
const COLUMNS: usize = 4 + WEB_COUNT;

/// Counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    lanes: [LaneCounts; LANE_COUNT],
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LaneCounts {
    by_web: [u32; WEB_COUNT],
    errors: u32,
}

/// Shows the lab until it is interrupted, and removes it.
///
/// # Errors
/// When the lab cannot be made or breaks; [`Interrupted`].
pub fn run() -> Result<()> {
    let fleet = Fleet::start()?;
    let outcome = intro(&fleet).and_then(|()| show(&fleet));
    if interrupted() {
        println!("\nRemoving the lab …");
    } else {
        fleet.explain();
    }
    outcome
}

fn intro(fleet: &Fleet) -> Result<()> {
    let lbctl = fleet.lbctl_line()?;
    println!(
        "\nThe client asks six VIPs behind lbd: three forward modes over IPv4 and IPv6.\n\
         Try, from another terminal as root:\n\
         \x20 {lbctl} status\n\
         \x20 {lbctl} backend drain nat-v4/web1\n\
         To run lbd on this machine instead: cargo xtask run --config FILE (examples/ has files to start from).\n\
         Ctrl-C ends the lab and removes everything.\n"
    );
    Ok(())
}

/// Sends and shows until an interrupt.
fn show(fleet: &Fleet) -> Result<()> {
    let (counters, stop) = (Counters::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let stream = scope.spawn(|| traffic::stream(&fleet.site.client, &counters, &stop));
        let shown = draw_until_interrupted(fleet, &counters);
        stop.store(true, Ordering::Relaxed);
        let streamed = stream.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The stream ends by itself only when it cannot run at all, which says more than what the view saw of it.
        streamed.and(shown)
    })
}

fn draw_until_interrupted(fleet: &Fleet, counters: &Counters) -> Result<()> {
    let on_terminal = io::stdout().is_terminal();
    let interval = if on_terminal { REDRAW } else { REPRINT };
    let (start, mut former, mut drawn_lines) = (Instant::now(), Counts::default(), 0);
    let mut drawn_at = start;
    loop {
        wait_interruptibly(drawn_at + interval)?;
        let backends = fleet.backends()?;
        let counts = Counts::of(counters);
        let rate = f64::from(counts.total() - former.total()) / drawn_at.elapsed().as_secs_f64();
        drawn_at = Instant::now();
        let text = view(&counts, &backends, start.elapsed(), rate);
        // To the first line of the former drawing, and clear from there.
        let back =
            if on_terminal && drawn_lines > 0 { format!("\x1b[{drawn_lines}F\x1b[J") } else { String::new() };
        // No `print!`: its panic, when nobody reads any more, would leave the stream running.
        let mut stdout = io::stdout().lock();
        write!(stdout, "{back}{text}").and_then(|()| stdout.flush()).context("writing the view")?;
        drawn_lines = text.lines().count();
        former = counts;
    }
}

/// Waits until then, or fails at an interrupt.
///
/// # Errors
/// [`Interrupted`].
pub fn wait_interruptibly(until: Instant) -> Result<()> {
    loop {
        if interrupted() {
            return Err(Interrupted.into());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(SLICE));
    }
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let mut lanes = [LaneCounts::default(); LANE_COUNT];
        for (counts, counters) in lanes.iter_mut().zip(&counters.lanes) {
            *counts =
                LaneCounts { by_web: counters.by_web.each_ref().map(load), errors: load(&counters.errors) };
        }
        Self { lanes, last_error: counters.last_error() }
    }

    fn total(&self) -> u32 {
        self.lanes.iter().map(LaneCounts::requests).sum()
    }
}

impl LaneCounts {
    fn requests(&self) -> u32 {
        self.by_web.iter().sum::<u32>() + self.errors
    }
}

/// One drawing.
fn view(counts: &Counts, backends: &[Backend], elapsed: Duration, rate: f64) -> String {
    let mut rows = vec![head()];
    for (lane, of_lane) in Lane::ALL.iter().zip(&counts.lanes) {
        rows.push(row(*lane, of_lane, backends));
    }
    let errors: u32 = counts.lanes.iter().map(|lane| lane.errors).sum();
    let mut text = columns(&rows);
    let (seconds, total) = (elapsed.as_secs(), counts.total());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{seconds} s: {total} requests, {rate:.0} a second, {errors} without an answer");
    if let Some(error) = &counts.last_error {
        let _ = writeln!(text, "last error: {}", error.replace(char::is_control, " "));
    }
    text.lines().map(|line| line.chars().take(MAX_WIDTH).chain(['\n']).collect::<String>()).collect()
}

fn head() -> [String; COLUMNS] {
    let fixed = ["mode", "family", "VIP", "errors"].map(str::to_owned);
    joined(fixed, std::array::from_fn(web_name))
}

fn row(lane: Lane, counts: &LaneCounts, backends: &[Backend]) -> [String; COLUMNS] {
    let fixed = [
        lane.mode.name().to_owned(),
        lane.family_name().to_owned(),
        lane.vip().to_string(),
        counts.errors.to_string(),
    ];
    let mut webs = counts.by_web.iter().enumerate();
    let cells = std::array::from_fn(|_| match webs.next() {
        Some((web, count)) => format!("{count} {}", backends::condition(backends, lane, web)),
        None => String::new(),
    });
    joined(fixed, cells)
}

fn joined(fixed: [String; COLUMNS - WEB_COUNT], webs: [String; WEB_COUNT]) -> [String; COLUMNS] {
    let mut cells = fixed.into_iter().chain(webs);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        let lane = LaneCounts { by_web: [1_200_345, 1_200_346, 1_200_347], errors: 12 };
        Counts { lanes: [lane; LANE_COUNT], last_error: Some(format!("connecting\n{}", "x".repeat(200))) }
    }

    #[test]
    fn a_drawing_has_a_line_for_each_lane_and_none_is_too_long() {
        let text = view(&counts(), &[], Duration::from_hours(24), 119.6);
        assert_eq!(text.lines().count(), 1 + LANE_COUNT + 2);
        assert!(text.lines().all(|line| line.chars().count() <= MAX_WIDTH), "{text}");
        assert!(text.contains("86400 s: 21606300 requests, 120 a second, 72 without an answer"), "{text}");
    }

    #[test]
    fn servers_show_their_counts_and_what_the_agent_says_of_them() {
        let text = view(&counts(), &[], Duration::ZERO, 0.0);
        let nat: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(nat[..6], ["nat", "IPv4", "203.0.113.10", "12", "1200345", "-"]);
    }

    #[test]
    fn without_an_error_none_is_shown() {
        let text = view(&Counts::default(), &[], Duration::ZERO, 0.0);
        assert!(!text.contains("last error"), "{text}");
    }
}
