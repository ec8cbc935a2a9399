//! What is in the maps, and the operations that change it.

use lb_common::abi::{
    Backend, BackendIdentity, REVERSE_PER_BACKEND, ReverseKey, ReverseValue, ServiceKey, ServiceValue,
    Settings, Slot,
};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of the maps, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Frontends.
    pub services: u32,
    /// Backends.
    pub backends: u32,
    /// Slots.
    pub slots: u32,
}

impl Capacity {
    /// Entries of the return path.
    pub const fn reverse(&self) -> u32 {
        self.backends.saturating_mul(REVERSE_PER_BACKEND)
    }
}

/// A run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// First slot.
    pub offset: u32,
    /// Number of slots.
    pub count: u32,
}

/// Everything that is in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Sizes.
    pub capacity: Capacity,
    /// Settings.
    pub settings: Settings,
    /// Frontends.
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// The return path.
    pub reverse: BTreeMap<ReverseKey, ReverseValue>,
    /// Backends by index, those in use.
    pub backends: BTreeMap<u32, (BackendIdentity, Backend)>,
    /// Slot tables that services point to.
    pub tables: BTreeMap<Region, Vec<Slot>>,
    /// Interfaces that can be redirected to.
    pub devices: BTreeSet<u32>,
}

/// One change of the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Allows redirects to an interface.
    PutDevice(u32),
    /// Writes a backend's entry and who it belongs to.
    PutBackend {
        /// Its index.
        index: u32,
        /// Who it is.
        identity: BackendIdentity,
        /// Its entry.
        backend: Backend,
    },
    /// Sets a backend's counters to 0, before its index gets a new owner.
    ResetBackendCounters(u32),
    /// Sets a frontend's counters to 0, before its index gets a new owner.
    ResetServiceCounters(u32),
    /// Writes a slot table into a region that no service points to.
    WriteSlots {
        /// First slot.
        offset: u32,
        /// The table.
        slots: Vec<Slot>,
    },
    /// Makes an address, port and protocol the source of replies.
    PutReverse(ReverseKey, ReverseValue),
    /// The opposite.
    DeleteReverse(ReverseKey),
    /// Tells the program how many reverse entries there are (0: it need not look).
    SetReverseEntries(u32),
    /// Makes a frontend live, or switches it to another table, in one step.
    PutService(ServiceKey, ServiceValue),
    /// Takes a frontend away.
    DeleteService(ServiceKey),
    /// Waits until no packet is under way that saw the maps before the operations so far.
    WaitForReaders,
    /// Frees a backend's index.
    ClearBackend(u32),
}
