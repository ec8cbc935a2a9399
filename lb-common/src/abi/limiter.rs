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
    /// An ICMP error: too big for the way on. Apart from the others, because a connection may depend on it.
    TooBig = 1,
    /// An ICMP error: its TTL was used up.
    Expired = 2,
    /// An ICMP error of a router about a tunnel, told to the client.
    Relayed = 3,
    /// A packet of a connection that nobody knows any more, given to a backend that resets it.
    Reset = 4,
}

/// Number of [`AnswerKind`]s.
pub const ANSWER_KINDS: usize = 5;

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
        let [echo, too_big, expired, relayed, reset] = settings.answer_rates;
        let [echo_ms, too_big_ms, expired_ms, relayed_ms, reset_ms] = &mut self.filled_ms;
        let [echo_left, too_big_left, expired_left, relayed_left, reset_left] = &mut self.left;
        match kind {
            AnswerKind::Echo => take(echo, echo_ms, echo_left, now_ms),
            AnswerKind::TooBig => take(too_big, too_big_ms, too_big_left, now_ms),
            AnswerKind::Expired => take(expired, expired_ms, expired_left, now_ms),
            AnswerKind::Relayed => take(relayed, relayed_ms, relayed_left, now_ms),
            AnswerKind::Reset => take(reset, reset_ms, reset_left, now_ms),
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

const _: () = assert!(size_of::<Limiter>() == 80);
