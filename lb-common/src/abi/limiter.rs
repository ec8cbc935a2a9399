//! Budgets in time, one CPU each: token buckets, and those of the datapath's own answers.

use super::Settings;
use bytemuck::{Pod, Zeroable};

/// How often something may happen on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RecordRate {
    /// Times a second, on average.
    pub per_second: u32,
    /// Times at once, after a time without any.
    pub burst: u32,
}

/// An answer that the datapath makes itself. Each kind has a budget, so that nobody can use the node to send a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AnswerKind {
    /// To an echo request.
    Echo = 0,
    /// An ICMP error.
    Error = 1,
}

/// Number of [`AnswerKind`]s.
pub const ANSWER_KINDS: usize = 2;

/// A CPU's budgets for answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Limiter {
    /// When the budgets were filled up last, in milliseconds of the monotonic clock, by [`AnswerKind`].
    filled_ms: [u64; ANSWER_KINDS],
    /// What is left, in thousandths, by [`AnswerKind`].
    left: [u64; ANSWER_KINDS],
}

impl Limiter {
    /// Takes one answer of `kind` off the budget; false if there is none left.
    #[inline(always)]
    pub fn take(&mut self, kind: AnswerKind, settings: &Settings, now_ms: u64) -> bool {
        let [echo, error] = settings.answer_rates;
        let [echo_ms, error_ms] = &mut self.filled_ms;
        let [echo_left, error_left] = &mut self.left;
        match kind {
            AnswerKind::Echo => take(echo, echo_ms, echo_left, now_ms),
            AnswerKind::Error => take(error, error_ms, error_left, now_ms),
        }
    }
}

/// Thousandths in a whole: at one a second, a millisecond is worth one.
const WHOLE: u64 = 1_000;
/// Longest time that is made up for, in milliseconds: keeps the product in range.
const LONGEST_PAUSE_MS: u64 = 1 << 24;

/// A token bucket.
#[inline(always)]
pub(super) fn take(rate: RecordRate, filled_ms: &mut u64, left: &mut u64, now_ms: u64) -> bool {
    let pause_ms = now_ms.wrapping_sub(*filled_ms).min(LONGEST_PAUSE_MS);
    *filled_ms = now_ms;
    let most = u64::from(rate.burst) * WHOLE;
    let filled = (*left + pause_ms * u64::from(rate.per_second)).min(most);
    if filled < WHOLE {
        *left = filled;
        return false;
    }
    *left = filled - WHOLE;
    true
}

const _: () = assert!(size_of::<Limiter>() == 32);
