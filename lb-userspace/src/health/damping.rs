//! Flap damping: a backend that goes down again and again is kept out until it has been quiet for a while.
//!
//! Role: the arithmetic of a penalty that grows with each fall and halves in a fixed time (the idea of RFC 2439, for one
//! backend instead of a route). Time is an argument. Imports nothing of ours.
//! Always holds: whoever stays up is forgiven in the end, within [`LONGEST_HOLD`]; a single fall never holds anybody.

use std::time::{Duration, Instant};

/// Time in which a penalty halves.
const HALF_LIFE: Duration = Duration::from_mins(1);

/// Penalty of one fall.
const FALL: f64 = 1.0;

/// At this penalty a backend is held: four falls in quick succession.
const HOLD_AT: f64 = 3.5;

/// Below this penalty it is let go.
const RELEASE_BELOW: f64 = 1.0;

/// A backend that stays up is held no longer than this.
pub const LONGEST_HOLD: Duration = Duration::from_mins(3);

/// The falls of one backend.
#[derive(Clone, Copy, Debug)]
pub struct Damper {
    penalty: f64,
    at: Instant,
    held: bool,
}

impl Damper {
    /// Of one that has not fallen yet.
    pub const fn new(now: Instant) -> Self {
        Self { penalty: 0.0, at: now, held: false }
    }

    /// Notes that it went down. Returns until when it is held, if it does not fall again before.
    pub fn fell(&mut self, now: Instant) -> Option<Instant> {
        let before = self.penalty_at(now);
        self.penalty = (before + FALL).min(most());
        self.at = now;
        self.held = (self.held && before >= RELEASE_BELOW) || self.penalty >= HOLD_AT;
        self.held.then(|| now + HALF_LIFE.mul_f64((self.penalty / RELEASE_BELOW).log2()))
    }

    fn penalty_at(&self, now: Instant) -> f64 {
        let half_lives = now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.penalty * (-half_lives).exp2()
    }
}

/// The penalty that decays within [`LONGEST_HOLD`].
fn most() -> f64 {
    RELEASE_BELOW * (LONGEST_HOLD.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_fall_or_falls_far_apart_hold_nobody() {
        let begin = Instant::now();
        let mut damper = Damper::new(begin);
        for number in 0..50 {
            assert_eq!(damper.fell(begin + s(120 * number)), None, "fall {number}");
        }
    }

    #[test]
    fn the_fourth_fall_in_a_row_holds_until_it_has_been_quiet() {
        let begin = Instant::now();
        let mut damper = Damper::new(begin);
        for number in 0..3 {
            assert_eq!(damper.fell(begin + s(number)), None);
        }
        let now = begin + s(3);
        let until = damper.fell(now).unwrap();
        assert!((s(100)..s(130)).contains(&(until - now)), "{:?}", until - now);
        let later = damper.fell(now + s(30)).unwrap();
        assert!(later > until, "a fall while it is held makes it longer");
        assert_eq!(damper.fell(later + s(60)), None, "after that it begins anew");
    }

    #[test]
    fn nobody_is_held_for_ever() {
        let begin = Instant::now();
        let mut damper = Damper::new(begin);
        let mut until = None;
        for number in 0..10_000 {
            until = damper.fell(begin + s(number));
        }
        let last = begin + s(9_999);
        assert!(until.unwrap() <= last + LONGEST_HOLD);
    }
}
