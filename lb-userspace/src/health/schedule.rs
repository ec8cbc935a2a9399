//! When the probes of one group start.
//!
//! Role: arithmetic on time, which is an argument. Imports nothing of ours.
//! Always holds: one start follows another by the interval at most, unless the probe itself took longer; starts
//! that were missed are skipped, never made up for in a burst.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// The first probe starts within this time, however long the interval: a check every hour must not leave its
/// target unknown for an hour.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Shortest interval that is kept to.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Starts at a fixed phase of the interval.
///
/// The phase comes from a hash, so that a thousand checks that begin together spread over the interval, and so
/// that each keeps its place from run to run.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// A start comes up to this much sooner after the one before.
    jitter: Duration,
    /// Where the sooner comes from.
    dice: u64,
    /// The next start.
    due: Instant,
    /// The next start at the phase; later than `due` only before the first start.
    grid: Instant,
}

impl Schedule {
    /// The schedule of something called `seed` that begins `now`.
    pub(super) fn new(seed: &impl Hash, interval: Duration, jitter: Duration, now: Instant) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let hash = hasher.finish();
        let interval = interval.max(MIN_INTERVAL);
        Self {
            interval,
            jitter: jitter.min(interval / 2),
            dice: hash | 1,
            due: now + share(interval.min(FIRST_WITHIN), hash),
            grid: now + share(interval, hash),
        }
    }

    /// When to start next; in the past if that is overdue.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Goes on to the start after this one; `now` is when the probe ended.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.due >= self.grid {
            // The jitter is half of the interval at most.
            let pause = self.interval.saturating_sub(self.sooner());
            self.grid += pause;
        }
        let behind = now.saturating_duration_since(self.grid);
        let missed = behind.as_nanos() / self.interval.as_nanos();
        self.grid += self.interval * u32::try_from(missed).unwrap_or(u32::MAX);
        self.due = self.grid;
    }

    /// How much sooner the next start comes; another time each time (xorshift, Marsaglia 2003).
    fn sooner(&mut self) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        share(self.jitter, self.dice)
    }
}

/// The part `hash / 2^64` of `whole`, in whole milliseconds: timers are no finer.
fn share(whole: Duration, hash: u64) -> Duration {
    let share_ms = (whole.as_millis() * u128::from(hash)) >> 64;
    Duration::from_millis(u64::try_from(share_ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Starts of a schedule whose probes take no time, relative to its beginning.
    fn starts(seed: &str, interval: Duration, count: usize) -> Vec<Duration> {
        let begin = Instant::now();
        let mut schedule = Schedule::new(&seed, interval, Duration::ZERO, begin);
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(schedule.due() - begin);
            schedule.advance(schedule.due());
        }
        found
    }

    #[test]
    fn starts_are_one_interval_apart() {
        let found = starts("web-1", ms(700), 50);
        assert!(found[0] < ms(700));
        assert!(found.windows(2).all(|pair| pair[1] == pair[0] + ms(700)));
    }

    #[test]
    fn a_long_interval_starts_soon_and_then_keeps_its_phase() {
        let hour = Duration::from_hours(1);
        for seed in ["a", "b", "c", "d", "e"] {
            let found = starts(seed, hour, 10);
            assert!(found[0] < FIRST_WITHIN, "{seed}: first start after {:?}", found[0]);
            assert!(found[1] <= found[0] + hour);
            assert!(found[1..].windows(2).all(|pair| pair[1] == pair[0] + hour));
        }
    }

    #[test]
    fn a_thousand_schedules_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for target in 0..1_000 {
            let first = starts(&format!("web-{target}"), ms(1_000), 1)[0];
            tenths[usize::try_from(first.as_millis() / 100).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }

    #[test]
    fn with_jitter_starts_come_sooner_and_never_later() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(&"x", ms(1_000), ms(200), begin);
        let mut gaps = Vec::new();
        for _ in 0..200 {
            let before = schedule.due();
            schedule.advance(before);
            gaps.push(schedule.due() - before);
        }
        assert!(gaps.iter().all(|gap| (ms(800)..=ms(1_000)).contains(gap)), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap < ms(850)) && gaps.iter().any(|gap| *gap > ms(950)), "{gaps:?}");
    }

    #[test]
    fn a_late_end_starts_the_next_probe_at_once_and_returns_to_the_phase() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(&"x", ms(100), Duration::ZERO, begin);
        let first = schedule.due();
        schedule.advance(first + ms(103));
        assert_eq!(schedule.due(), first + ms(100), "already due");
        schedule.advance(first + ms(120));
        assert_eq!(schedule.due(), first + ms(200));
    }

    #[test]
    fn missed_starts_are_skipped() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(&"x", ms(100), Duration::ZERO, begin);
        let first = schedule.due();
        schedule.advance(first + ms(1_050));
        assert_eq!(schedule.due(), first + ms(1_000), "one start is due, not ten");
        schedule.advance(first + ms(1_051));
        assert_eq!(schedule.due(), first + ms(1_100));
    }
}
