//! Health checks: which targets answer.
//!
//! Role: `machine` decides without IO, `probe` asks, `schedule` says when, `group` does that for the targets
//! that share a question, `runner` keeps the set and reports. Imports `model` and nothing else of ours.
//! Always holds: a target that stops answering is reported down within interval × fall + timeout, as long as
//! the node has sockets to ask with.

mod group;
pub mod damping;
pub mod machine;
pub mod policy;
pub mod probe;
mod runner;
mod schedule;

pub use machine::{Health, LastResult, Status, Streak, Transition};
pub use runner::{BackendId, HealthEvent, Load, MAX_PROBES, MAX_QUEUED_EVENTS, Runner, Target, TargetStatus};
