//! What holds for the whole datapath.

use super::limiter::{ANSWER_KINDS, RecordRate};
use super::recorder::RECORD_KINDS;
use bytemuck::{Pod, Zeroable};

/// Settings of the datapath; the only entry of its map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// Key of the flow hash. Kept here so that an agent that adopts pinned maps gives its program the same key.
    pub hash_key: [u64; 2],
    /// [`super::ABI_VERSION`] of the agent that made the maps.
    pub abi_version: u32,
    /// Entries of the reverse table; at 0 the return path is not looked at.
    pub reverse_entries: u32,
    /// How fast flows may be recorded on one CPU, by [`super::RecordKind`].
    pub record_rates: [RecordRate; RECORD_KINDS],
    /// A [`super::Recording`] number.
    pub recording: u32,
    /// [`Lookups`] that a packet of no exact frontend is worth.
    pub lookups: u32,
    /// How many answers of the datapath's own may leave one CPU, by [`super::AnswerKind`].
    pub answer_rates: [RecordRate; ANSWER_KINDS],
}

/// What else there is to look for when a packet's address, port and protocol are no frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookups;

impl Lookups {
    /// Frontends of any port or of ranges, of single addresses.
    pub const PORTS: u32 = 1;
    /// Frontends of whole networks.
    pub const NETWORKS: u32 = 2;
    /// Replies to addresses that `full-nat` sends from.
    pub const SESSIONS: u32 = 4;
    /// Replies from backends of frontends of any port or of ranges (`nat`).
    pub const REVERSE_PORTS: u32 = 8;
}

const _: () = assert!(size_of::<Settings>() == 96);
