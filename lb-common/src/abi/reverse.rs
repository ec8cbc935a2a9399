//! The stateless return path of `nat`: who a reply has to come from.

use super::Address;
use bytemuck::{Pod, Zeroable};

/// Entries of the return path for each backend that there may be: in how many frontends with ports of their own one can
/// be, on average.
pub const REVERSE_PER_BACKEND: u32 = 2;

/// Where a reply comes from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ReverseKey {
    /// The backend's address.
    pub address: Address,
    /// The backend's port, as it lies in the packet.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub zero: u8,
}

/// What the client has to see instead.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ReverseValue {
    /// The VIP.
    pub vip: Address,
    /// The VIP's port, as it lies in the packet.
    pub port: u16,
    /// Always 0.
    pub zero: u16,
    /// Index of the frontend's counters.
    pub service_index: u32,
    /// Index of the backend.
    pub backend_index: u32,
}

/// A place of the reverse table: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ReverseEntry {
    /// Where a reply comes from.
    pub key: ReverseKey,
    /// A [`super::place`] number.
    pub state: u32,
    /// What the client has to see.
    pub value: ReverseValue,
    /// Always 0.
    pub zero: [u32; 3],
}

const _: () = assert!(size_of::<ReverseEntry>() == 64);
const _: () = assert!(size_of::<ReverseKey>() == 20);
const _: () = assert!(size_of::<ReverseValue>() == 28);
