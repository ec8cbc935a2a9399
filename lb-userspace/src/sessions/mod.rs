//! Sessions of `full-nat` over time: which ones are over, whose the others are, and when operators hear of a full table.
//!
//! Role: pure; the time is an argument, on the clock that the datapath stamps sessions with (`CLOCK_MONOTONIC`). Imports
//! model, dataplane, reconcile's names and lb-common. Always holds: a session is over only if both of its directions are; of
//! its entries the client's goes first, so that nobody finds a way whose replies nobody knows.

mod alarm;
mod book;
mod sweep;
mod timeout;

pub use alarm::{Alarms, Fill, Look};
pub use book::SessionBook;
pub use sweep::{SessionCount, Sweep};
pub use timeout::{CLOSING, CLOSING_CROWDED, HALF_CLOSED, Idle, OPENING, longest_idle};

#[cfg(test)]
mod tests;
