//! Health checks: which targets answer, and whom a pool serves by that.
//!
//! Role: `machine` decides without IO, with `damping`, `history` and `finding`; `policy` judges pools, without IO too;
//! `probe` asks, `schedule` says when, `group` does that for the targets that share a question, `runner` keeps the set and
//! reports. Imports `model` and nothing else of ours.
//! Always holds: a target that stops answering is reported down within interval × fall + timeout, as long as
//! the node has sockets to ask with.

mod damping;
pub mod finding;
mod group;
mod history;
pub mod machine;
pub mod policy;
pub mod probe;
mod punctuality;
mod runner;
mod schedule;

pub use finding::{Answer, Database, Findings, Wish, WishedState};
pub use history::KEPT as KEPT_RESULTS;
pub use machine::{Became, Change, Health, LastResult, Status, Streak, Transition};
pub use punctuality::Punctuality;
pub use runner::{BackendId, HealthEvent, Load, MAX_PROBES, MAX_QUEUED_EVENTS, Runner, Target, TargetStatus};
