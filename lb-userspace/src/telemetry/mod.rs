//! What the agent tells: its log, and the recent events that the API shows.
//!
//! Role: `logging` sets the process's log up once, `events` remembers what happened. Imports nothing of ours.
//! Always holds: telemetry never blocks and never grows without bound.

pub mod events;
mod logging;

pub use logging::{LOG_VARIABLE, LoggingError, init_logging};
