//! The maps and the XDP program: with the room `decap` the only user of aya.
//!
//! Role: says what is in the kernel ([`Observed`]), changes it ([`Op`]), reads counters; loads, attaches, adopts and
//! removes the program. Imports lb-common only. Always holds: an operation is safe to repeat; what it promises to
//! readers (the XDP program) holds after every single operation, so a crash between two leaves working maps.

mod fake;
pub mod kernel;
mod op;

pub use fake::FakeDataplane;
pub use op::{Capacity, Indexes, NetworkPrefix, Observed, Op, PortsPrefix, Region};

use lb_common::abi::{
    Backend, BackendCounters, BackendIdentity, FlowCounters, FlowKey, FlowValue, ServiceCounters, Session,
    Settings,
};
use std::collections::BTreeMap;

/// What went wrong with the maps.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// A map has no room.
    #[error("the map {map} is full ({capacity} entries); raise node.limits and run `lbd remove` once")]
    Full {
        /// Its name.
        map: &'static str,
        /// Its size.
        capacity: u32,
    },
    /// Too many keys of a map want the same places.
    #[error(
        "too many keys of the map {map} fall on the same places; raise node.limits and run `lbd remove` once"
    )]
    Crowded {
        /// Its name.
        map: &'static str,
    },
    /// An index is beyond a map's end.
    #[error("index {index} is beyond the end of the map {map}")]
    OutOfRange {
        /// The map's name.
        map: &'static str,
        /// The index.
        index: u32,
    },
    /// The kernel refused.
    #[error("the kernel refused to {action} the map {map}: {source}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        map: &'static str,
        /// Its answer.
        source: aya::maps::MapError,
    },
    /// A system call failed.
    #[error("{call} failed: {source}")]
    System {
        /// Which.
        call: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Backends by index.
pub type Backends = BTreeMap<u32, (BackendIdentity, Backend)>;

/// Entries of sessions that were read at once.
#[derive(Clone, Debug, Default)]
pub struct SessionPage {
    /// The entries.
    pub entries: Vec<(FlowKey, Session)>,
    /// Where to go on; none at the end.
    pub next: Option<u32>,
}

/// What the agent asks of a dataplane.
pub trait Dataplane {
    /// Everything that is in the maps.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn observe(&self) -> Result<Observed, DataplaneError>;

    /// The settings alone, which is quick.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn settings(&self) -> Result<Settings, DataplaneError>;

    /// The backends alone, by index, those in use.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn backends(&self) -> Result<Backends, DataplaneError>;

    /// Carries out one operation.
    ///
    /// # Errors
    /// When a map is full or the kernel refuses; nothing of this operation is done then.
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError>;

    /// Counters of a frontend, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn service_counters(&self, index: u32) -> Result<ServiceCounters, DataplaneError>;

    /// Counters of a backend, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn backend_counters(&self, index: u32) -> Result<BackendCounters, DataplaneError>;

    /// Shows every flow that is remembered to `is_over`, and forgets it, a moment later, if that says so. Flows that come
    /// or go meanwhile may be seen or not.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    fn sweep_flows(
        &mut self,
        is_over: &mut dyn FnMut(&FlowKey, FlowValue) -> bool,
    ) -> Result<(), DataplaneError>;

    /// A bounded number of entries of sessions, each of which has two, one a direction: those from `position`, which an answer
    /// before gave, or from the beginning. Entries that come or go meanwhile may be seen or not.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn sessions_from(&self, position: Option<u32>) -> Result<SessionPage, DataplaneError>;

    /// An entry of a session.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn session(&self, key: &FlowKey) -> Result<Option<Session>, DataplaneError>;

    /// Takes entries of sessions out, in this order; those that are gone already are no error.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn forget_sessions(&mut self, keys: &[FlowKey]) -> Result<(), DataplaneError>;

    /// What became of flows, summed over CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn flow_counters(&self) -> Result<FlowCounters, DataplaneError>;

    /// Packets by verdict number, those that are not 0.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn verdicts(&self) -> Result<BTreeMap<u8, u64>, DataplaneError>;
}
