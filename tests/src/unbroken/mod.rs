//! The labs that show that no connection breaks: `churn`, `drain` and `flood` (`cargo xtask lab`, and bounded runs of
//! the same as tests).
//!
//! Role: a site with `lbd`, servers that echo, a client with many connections, and what happens meanwhile. Imports `lab`,
//! `site`, `programs`, `bpf`; reads `lbctl`'s JSON, of which unknown fields are ignored and missing ones are 0.
//! Always holds: progress goes to standard error; dropping what a lab made removes it; a run that could not show what it
//! is there to show (no connection on the drained server, no flood) is an error or a finding, never a success.

mod bed;
pub mod churn;
pub mod drain;
pub mod flood;
mod lane;
mod members;
mod plan;
mod progress;
mod slots;
mod syn;

pub use bed::{Flows, SETTLING};
pub use lane::{Lane, lanes_of};
pub use progress::Progress;
