//! What a lab says while it runs: lines with the time since its start, on standard error.

use std::time::{Duration, Instant};

use crate::programs::control::now_us;

/// The lab's clock and voice.
pub struct Progress {
    start: Instant,
    start_us: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { start: Instant::now(), start_us: now_us() }
    }
}

impl Progress {
    /// Says something.
    pub fn say(&self, text: &str) {
        eprintln!("[{:6.1} s] {text}", self.elapsed().as_secs_f64());
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time from the start to `at_us`, which a program of the lab told.
    pub fn at(&self, at_us: u64) -> Duration {
        Duration::from_micros(at_us.saturating_sub(self.start_us))
    }
}
