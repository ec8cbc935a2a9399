//! How punctual checks are: the first thing to suffer on a node that has too much to do.
//!
//! Always holds: counts only grow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A check that starts later than this part of its interval counts as late.
const LATE_PERCENT: u32 = 10;

/// Counts checks as they start.
#[derive(Debug, Default)]
pub(super) struct Clock {
    started: AtomicU64,
    late: AtomicU64,
    worst_us: AtomicU64,
}

/// How punctual the checks have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Punctuality {
    /// Checks that were started.
    pub started: u64,
    /// Those that started later than a tenth of their interval after they were due.
    pub late: u64,
    /// The latest of all.
    pub worst: Duration,
}

impl Clock {
    /// Notes that a check of `interval` starts `late_by` after it was due.
    pub(super) fn note(&self, late_by: Duration, interval: Duration) {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.late.fetch_add(u64::from(late_by > interval * LATE_PERCENT / 100), Ordering::Relaxed);
        let late_us = u64::try_from(late_by.as_micros()).unwrap_or(u64::MAX);
        self.worst_us.fetch_max(late_us, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Punctuality {
        Punctuality {
            started: self.started.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            worst: Duration::from_micros(self.worst_us.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_tenth_of_the_interval_is_late() {
        let (clock, second) = (Clock::default(), Duration::from_secs(1));
        clock.note(Duration::ZERO, second);
        clock.note(Duration::from_millis(100), second);
        clock.note(Duration::from_millis(101), second);
        let worst = Duration::from_millis(101);
        assert_eq!(clock.read(), Punctuality { started: 3, late: 1, worst });
    }
}
