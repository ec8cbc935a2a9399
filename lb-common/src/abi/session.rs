//! Sessions of `full-nat`: who a packet of a flow has to be from and to.
//!
//! Always holds: a session is two entries, one a direction, keyed by the 5-tuple that packets of that direction arrive
//! with; the entry of replies is made first, with a key that nobody else has, so no two sessions share a port.

use super::{Address, FlowKey};
use bytemuck::{Pod, Zeroable};
use core::cell::UnsafeCell;

/// What becomes of the packets of one direction of a session; written once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SessionWay {
    /// Source address that they get.
    pub source: Address,
    /// Destination address that they get.
    pub destination: Address,
    /// Source port that they get, as it lies in a packet.
    pub source_port: u16,
    /// Destination port that they get, as it lies in a packet.
    pub destination_port: u16,
    /// Index of the frontend's counters.
    pub service_index: u32,
    /// Index of the backend.
    pub backend_index: u32,
    /// 1 if this is the direction to the client.
    pub reply: u32,
}

impl SessionWay {
    /// The 5-tuple of the packets that answer those which go this way.
    #[inline(always)]
    pub const fn answers(&self, protocol: u32) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
        }
    }
}

/// One direction of a session, as user space reads and writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Session {
    /// What becomes of packets.
    pub way: SessionWay,
    /// What was seen of them last.
    pub seen: SessionSeen,
}

/// State and age of one direction of a session: one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SessionSeen(pub u64);

/// How far one direction of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SessionState {
    /// Nothing came this way yet.
    Silent = 0,
    /// Only SYNs came this way.
    Opening = 1,
    /// Something else than a SYN came this way; UDP always.
    Established = 2,
    /// A FIN or RST came this way.
    Closing = 3,
}

impl SessionSeen {
    /// In `state`, last seen at `seen_s` (seconds of the monotonic clock).
    #[inline(always)]
    pub const fn new(state: SessionState, seen_s: u32) -> Self {
        Self(seen_s as u64 | (state as u64) << 32)
    }

    /// When its last packet came, in seconds of the monotonic clock.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word is the field")]
    pub const fn seen_s(self) -> u32 {
        self.0 as u32
    }

    /// The state. A number that no state has reads as established, which is kept the longest.
    #[inline(always)]
    pub const fn state(self) -> SessionState {
        match self.0 >> 32 {
            0 => SessionState::Silent,
            1 => SessionState::Opening,
            3 => SessionState::Closing,
            _ => SessionState::Established,
        }
    }
}

/// The same where it lies, shared by all CPUs and the agent.
///
/// Loads and stores of `seen` are volatile ones of an aligned word, as for [`super::FlowCell`].
#[repr(C)]
#[derive(Debug)]
pub struct SessionCell {
    /// What becomes of packets.
    pub way: SessionWay,
    seen: UnsafeCell<u64>,
}

impl SessionCell {
    /// A cell that holds `session`.
    pub const fn new(session: Session) -> Self {
        Self { way: session.way, seen: UnsafeCell::new(session.seen.0) }
    }

    /// What was seen last.
    #[inline(always)]
    pub fn seen(&self) -> SessionSeen {
        // SAFETY: the pointer is to our own, aligned word; one load takes it whole.
        SessionSeen(unsafe { self.seen.get().read_volatile() })
    }

    /// Stores `to` unless it is what was found: the line is written once a second while nothing happens.
    #[inline(always)]
    pub fn update(&self, found: SessionSeen, to: SessionSeen) {
        if found != to {
            // SAFETY: as above; one store writes it whole, and no reference to the word itself is ever made.
            unsafe { self.seen.get().write_volatile(to.0) };
        }
    }
}

const _: () = assert!(size_of::<SessionWay>() == 48);
const _: () = assert!(size_of::<Session>() == 56);
const _: () = assert!(size_of::<SessionCell>() == 56);
