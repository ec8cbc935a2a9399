//! Answers of the agent as text for people.
//!
//! Role: one file a kind of answer. Imports `api`'s types only.
//! Always holds: pure functions of the answer and the [`look::Look`]; no clock, no terminal.

pub(super) mod backend;
pub(super) mod backends;
pub(super) mod events;
pub(super) mod look;
pub(super) mod services;
pub(super) mod status;
mod table;
pub(super) mod text;
mod time;
pub(super) mod units;

#[cfg(test)]
mod samples;
