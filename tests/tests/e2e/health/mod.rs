//! Health checks against real servers: what each kind notices, what each policy does, and what disturbs nobody.
//!
//! Role: `look`, `plan`, `server`, `certificate` and `talk` help; the other modules are tests.
//! Always holds: outcomes and their order are asserted, not tight times; what is waited for is a condition.

mod agents;
mod certificate;
mod certificates;
mod commands;
mod faults;
mod flapping;
mod kinds;
mod look;
mod noise;
mod plan;
mod policies;
mod restarts;
mod server;
mod sharing;
mod talk;
