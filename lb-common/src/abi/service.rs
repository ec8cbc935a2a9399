//! The service lookup: frontend to everything the next step needs.

use super::Address;
use bytemuck::{Pod, Zeroable};

/// A frontend: where a client connects.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ServiceKey {
    /// The VIP.
    pub address: Address,
    /// Port, as it lies in the packet (network byte order).
    pub port: u16,
    /// IP protocol number (6 TCP, 17 UDP).
    pub protocol: u8,
    /// Always 0: the kernel compares keys as bytes.
    pub zero: u8,
}

/// What a frontend is served by.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceValue {
    /// First slot of the pool's table.
    pub slot_offset: u32,
    /// Slots of the pool's table; 0 when no backend can take packets.
    pub slot_count: u32,
    /// Index of this frontend's counters.
    pub index: u32,
    /// A [`ForwardMode`] number.
    pub mode: u8,
    /// An [`Affinity`] number.
    pub affinity: u8,
    /// Always 0.
    pub zero: [u8; 2],
}

/// What an address is, apart from its frontends: the value of the entry with port and protocol 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressFlags;

impl AddressFlags {
    /// Clients connect to it.
    pub const VIP: u32 = 1;
    /// A frontend of it takes any port.
    pub const ANY_PORT: u32 = 2;
    /// A frontend of it takes a range of ports: [`super::names::RANGES`] knows which.
    pub const RANGES: u32 = 4;
    /// `full-nat` sends from it.
    pub const SNAT: u32 = 8;
}

impl ServiceValue {
    /// The value of an address's own entry, with [`AddressFlags`].
    pub const fn of_address(flags: u32) -> Self {
        Self { slot_offset: 0, slot_count: 0, index: flags, mode: 0, affinity: 0, zero: [0; 2] }
    }

    /// First slot and number of slots, loaded in one step: the agent switches tables by storing both as one word, so a
    /// reader sees the old table or the new one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half of the word is a field")]
    pub fn slots(&self) -> (u32, u32) {
        let word = core::ptr::from_ref(self).cast::<u64>();
        // SAFETY: the struct is 8-aligned and its first eight bytes are these two fields; volatile keeps the compiler
        // from loading them one by one.
        let word = u64::from_le(unsafe { core::ptr::read_volatile(word) });
        (word as u32, (word >> 32) as u32)
    }
}

/// A place of the service table: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceEntry {
    /// Which frontend.
    pub key: ServiceKey,
    /// A [`super::place`] number.
    pub state: u32,
    /// What serves it.
    pub value: ServiceValue,
    /// Always 0.
    pub zero: [u64; 3],
}

/// What decides which slot a flow falls on. Numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Affinity {
    /// The 5-tuple.
    Flow = 0,
    /// The source address.
    Source = 1,
    /// The source address and the VIP.
    SourceVip = 2,
}

/// How packets are forwarded (DESIGN, Forward modes). Numbers are part of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ForwardMode {
    /// Destination NAT, with the stateless return path.
    Nat = 1,
    /// Destination MAC only.
    DsrL2 = 2,
    /// IP in IP, of either family in either (RFC 2003, RFC 2473, RFC 4213).
    DsrIpip = 3,
    /// IP in GUE (UDP), of either family.
    DsrGue = 4,
    /// Destination and source NAT, with a session for each flow.
    FullNat = 5,
}

impl ForwardMode {
    /// The mode of an ABI number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Nat),
            2 => Some(Self::DsrL2),
            3 => Some(Self::DsrIpip),
            4 => Some(Self::DsrGue),
            5 => Some(Self::FullNat),
            _ => None,
        }
    }
}

const _: () = assert!(size_of::<ServiceKey>() == 20);
const _: () = assert!(size_of::<ServiceValue>() == 16);
const _: () = assert!(size_of::<ServiceEntry>() == 64);
