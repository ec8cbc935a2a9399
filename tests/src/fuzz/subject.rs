//! What is compared with the host: something that packets run through.
//!
//! Imports lb-common.

use super::epoch::Setting;
use anyhow::Result;
use lb_common::abi::{FlowCounters, FlowKey, FragmentKey, FragmentValue, SessionWay, TrafficCounters};
use std::collections::BTreeMap;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// XDP action.
    pub action: u32,
    /// Number of the verdict that was counted; none if none was, or more than one.
    pub number: Option<u8>,
}

/// All that packets left behind: counters and memory. What is 0 is not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets by verdict number.
    pub verdicts: BTreeMap<u8, u64>,
    /// Traffic by frontend.
    pub services: BTreeMap<u32, TrafficCounters>,
    /// Traffic by backend.
    pub backends: BTreeMap<u32, TrafficCounters>,
    /// Flows that are remembered: backend and state's number. When they were seen depends on the clock.
    pub flows: BTreeMap<FlowKey, (u32, u32)>,
    /// What became of flows.
    pub recorder: FlowCounters,
    /// Datagrams in fragments that are remembered, without their times.
    pub fragments: BTreeMap<FragmentKey, FragmentValue>,
    /// Sessions by direction, with their states' numbers.
    pub sessions: BTreeMap<FlowKey, (SessionWay, u32)>,
}

/// Something that packets run through.
pub trait Subject {
    /// Forgets all packets, and takes a setting on.
    ///
    /// # Errors
    /// When a map cannot be used.
    fn reset(&mut self, setting: Setting) -> Result<()>;

    /// Runs one packet; `guess` is the number of the verdict that is expected. `out` becomes the frame afterwards.
    ///
    /// # Errors
    /// When the packet cannot be run.
    fn run(&mut self, frame: &[u8], guess: u8, out: &mut Vec<u8>) -> Result<Reaction>;

    /// What all packets since the reset left behind.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn totals(&mut self) -> Result<Totals>;
}

/// Counters that are not 0.
pub fn counted(counters: impl IntoIterator<Item = (u32, TrafficCounters)>) -> BTreeMap<u32, TrafficCounters> {
    counters.into_iter().filter(|(_, it)| *it != TrafficCounters::default()).collect()
}
