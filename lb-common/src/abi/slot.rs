//! A slot of a pool's table: eight bytes with memory (DESIGN, Slots with memory).

use bytemuck::{Pod, Zeroable};

/// One slot: current backend (bits 0 to 31), base backend (32 to 61) and phase (62 and 63), in one word so that a
/// reader never sees half of a change.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot(pub u64);

/// What a slot remembers of the change before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Every flow of the slot is with the current backend.
    Stable = 0,
    /// A change happened within the last `flow_timeout`: unknown flows may belong to the base backend.
    Learning = 1,
    /// All flows of before the change are in the flow table.
    Tracked = 2,
}

/// Bits of a slot that name a base backend.
const BASE_MASK: u64 = 0x3fff_ffff;

impl Slot {
    /// A slot whose flows are all with `current`.
    #[inline(always)]
    pub const fn stable(current: u32) -> Self {
        Self(current as u64)
    }

    /// A slot in `phase` that moved from `base` (below 2^30) to `current`.
    #[inline(always)]
    pub const fn new(current: u32, base: u32, phase: Phase) -> Self {
        Self((current as u64) | ((base as u64 & BASE_MASK) << 32) | ((phase as u64) << 62))
    }

    /// Index of the backend that takes new flows.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word is the field")]
    pub const fn current(self) -> u32 {
        self.0 as u32
    }

    /// Index of the backend that had the slot before.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        ((self.0 >> 32) & BASE_MASK) as u32
    }

    /// The phase. A number that no phase has reads as [`Phase::Stable`].
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        match self.0 >> 62 {
            1 => Phase::Learning,
            2 => Phase::Tracked,
            _ => Phase::Stable,
        }
    }
}

const _: () = assert!(size_of::<Slot>() == 8);
