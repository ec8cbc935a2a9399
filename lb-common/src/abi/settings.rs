//! What holds for the whole datapath.

use super::recorder::{RECORD_KINDS, RecordRate};
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
    /// Always 0.
    pub zero: u32,
}

const _: () = assert!(size_of::<Settings>() == 56);
