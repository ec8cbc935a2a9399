//! The agent: the one place that wires configuration, health, netlink, datapath and API together.
//!
//! Role: reads the file, keeps the maps true to it, answers the control socket. Imports every room.
//! Always holds: the maps are changed by one task at a time ([`Agent`]'s lock); whatever fails, the state before it
//! goes on serving; ending the agent leaves the datapath as it is.

mod admission;
mod apply;
mod around;
mod attach;
mod blind;
mod certificates;
mod checks;
mod control;
mod desired;
mod edits;
mod error;
mod last;
mod notices;
mod pools;
mod ports;
mod privileges;
mod rates;
mod report;
mod run;
#[cfg(test)]
mod sample_tests;
mod state;
mod tend;
mod vips;

pub use error::AgentError;
pub use run::{Options, check, remove, run};

use crate::telemetry::events::EventLog;
use state::State;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The running agent, as the control socket and the main loop share it.
#[derive(Clone)]
pub struct Agent {
    state: Arc<Mutex<State>>,
    events: Arc<EventLog>,
}
