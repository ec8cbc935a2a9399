//! Fragments: what became of the first one, for the later ones, which have no ports.

use super::Address;
use bytemuck::{Pod, Zeroable};

/// A datagram in fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, as it lies in the packet.
    pub identification: u32,
    /// IP protocol number of what is fragmented.
    pub protocol: u32,
}

/// What becomes of later fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentValue {
    /// Source address that they get; where the fate says so.
    pub source: Address,
    /// Destination address that they get; where the fate says so.
    pub destination: Address,
    /// A [`FragmentFate`] number.
    pub fate: u8,
    /// A [`super::ForwardMode`] number.
    pub mode: u8,
    /// Always 0.
    pub zero: u16,
    /// Index of the frontend's counters.
    pub service_index: u32,
    /// Index of the backend.
    pub backend_index: u32,
    /// When the first one came, in milliseconds of the monotonic clock, its low half.
    pub seen_ms: u32,
}

/// What becomes of the fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FragmentFate {
    /// They go to the stack, as the first one did.
    Pass = 0,
    /// They go to the backend.
    ToBackend = 1,
    /// They go from a backend to the client, from another source (`nat`).
    ToClient = 2,
    /// Both addresses are replaced, towards the backend (`full-nat`).
    SessionToBackend = 3,
    /// Both addresses are replaced, towards the client (`full-nat`).
    SessionToClient = 4,
}

impl FragmentFate {
    /// The fate of an ABI number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Pass),
            1 => Some(Self::ToBackend),
            2 => Some(Self::ToClient),
            3 => Some(Self::SessionToBackend),
            4 => Some(Self::SessionToClient),
            _ => None,
        }
    }
}

/// Datagrams whose first fragment is remembered, at most.
pub const FRAGMENTS: u32 = 16_384;

/// How long a first fragment is remembered: what receivers wait for the rest (RFC 8200 section 4.5; Linux waits 30 s for
/// IPv4, and identifications come back sooner).
pub const FRAGMENT_LIFE_MS: u32 = 30_000;

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<FragmentValue>() == 48);
