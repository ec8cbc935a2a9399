//! The flow table: what is remembered of flows while their slots change hands, and nothing else.

use super::Address;
use crate::hash::Flow;
use bytemuck::{Pod, Zeroable};
use core::cell::UnsafeCell;

/// A flow: the exact 5-tuple.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, as it lies in the packet.
    pub source_port: u16,
    /// Destination port, as it lies in the packet.
    pub destination_port: u16,
    /// IP protocol number; a word, because the kernel compares keys as bytes and padding would be noise.
    pub protocol: u32,
}

impl FlowKey {
    /// The key of a flow.
    #[inline(always)]
    pub const fn of(flow: &Flow) -> Self {
        Self {
            source: flow.source,
            destination: flow.destination,
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            protocol: flow.protocol as u32,
        }
    }
}

/// How far a connection is, as far as the client's side shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FlowState {
    /// Only SYNs were seen.
    HalfOpen = 0,
    /// Something else than a SYN was seen; UDP always.
    Established = 1,
    /// The client sent FIN or RST.
    Closing = 2,
}

/// What is remembered of a flow, as user space reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowValue {
    /// Backend index (bits 0 to 29) and [`FlowState`] (30 and 31), together.
    owner: u32,
    /// When its last packet was seen, in seconds of the monotonic clock.
    pub seen_s: u32,
}

/// The same where it lies, shared by all CPUs and the agent: one word, so that nobody sees half of a change.
///
/// Loads and stores are volatile ones of an aligned word: BPF before its fourth instruction set has no atomic loads.
#[repr(transparent)]
#[derive(Debug)]
pub struct FlowCell(UnsafeCell<u64>);

/// Bits of `owner` that name a backend.
const BACKEND_MASK: u32 = 0x3fff_ffff;
/// Where the state is.
const STATE_SHIFT: u32 = 30;

impl FlowValue {
    /// A flow of `backend` (below 2^30), last seen at `seen_s`.
    #[inline(always)]
    pub const fn new(backend: u32, state: FlowState, seen_s: u32) -> Self {
        Self { owner: (backend & BACKEND_MASK) | (state as u32) << STATE_SHIFT, seen_s }
    }

    /// As it lies in memory, on a little-endian machine.
    #[inline(always)]
    const fn word(self) -> u64 {
        self.owner as u64 | (self.seen_s as u64) << 32
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half of the word is a field")]
    const fn of_word(word: u64) -> Self {
        Self { owner: word as u32, seen_s: (word >> 32) as u32 }
    }

    /// Its backend.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        self.owner & BACKEND_MASK
    }

    /// Its state. A number that no state has reads as [`FlowState::Established`], which is kept the longest.
    #[inline(always)]
    pub const fn state(self) -> FlowState {
        match self.owner >> STATE_SHIFT {
            0 => FlowState::HalfOpen,
            2 => FlowState::Closing,
            _ => FlowState::Established,
        }
    }
}

impl FlowCell {
    /// A cell that holds `value`.
    pub const fn new(value: FlowValue) -> Self {
        Self(UnsafeCell::new(value.word()))
    }

    /// What it holds.
    #[inline(always)]
    pub fn load(&self) -> FlowValue {
        // SAFETY: the pointer is to our own, aligned word; one load takes it whole.
        FlowValue::of_word(unsafe { self.0.get().read_volatile() })
    }

    /// Stores `to` unless it is what was found: a line that all CPUs read is written at most once a second while nothing
    /// happens.
    #[inline(always)]
    pub fn update(&self, found: FlowValue, to: FlowValue) {
        if found.word() != to.word() {
            // SAFETY: as above; one store writes it whole, and no reference to the word itself is ever made.
            unsafe { self.0.get().write_volatile(to.word()) };
        }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowValue>() == 8);
const _: () = assert!(size_of::<FlowCell>() == 8);
const _: () = assert!(cfg!(target_endian = "little"), "flows are packed for little-endian machines");
