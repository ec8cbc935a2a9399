//! A backend: one cache line with everything that forwarding to it needs.

use super::Address;
use bytemuck::{Pod, Zeroable};

/// One backend. The default (all zero) is an unused entry.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// Destination MAC and source MAC, as they lie in a frame.
    pub ethernet: [u32; 3],
    /// Interface that leads to the backend.
    pub ifindex: u32,
    /// The backend's address.
    pub address: Address,
    /// Source of the outer header in tunnel modes.
    pub tunnel_source: Address,
    /// The backend's port, as it lies in a packet; 0 keeps the packet's own.
    pub port: u16,
    /// See [`BackendFlags`].
    pub flags: u16,
    /// Largest IP packet that the way to the backend takes, in bytes.
    pub mtu_bytes: u16,
    /// Folded sum of the outer IPv4 header's words that do not change (RFC 1071), without length and identification.
    pub outer_sum: u16,
    /// Bits of the last word of `tunnel_source`, as it lies in a packet, that are taken from the flow's hash; they are 0 in
    /// `tunnel_source`. So a receiver spreads flows over its queues by the outer header.
    pub tunnel_vary: u32,
    /// First of the pool's addresses in [`super::names::SNAT`] (`full-nat`).
    pub snat_first: u16,
    /// How many there are.
    pub snat_count: u16,
}

/// Bits of [`Backend::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendFlags;

impl BackendFlags {
    /// The entry is in use.
    pub const VALID: u16 = 1;
    /// `ethernet`, `ifindex` and `mtu_bytes` are known; without it the kernel's FIB is asked.
    pub const RESOLVED: u16 = 2;
    /// Given up: flows that are remembered as its own count as unknown.
    pub const DEAD: u16 = 4;
    /// `address` is IPv6.
    pub const V6: u16 = 8;
    /// `ifindex` is a VLAN interface: frames leave by its port, with its tags.
    pub const TAGGED: u16 = 16;
}

impl Backend {
    /// Whether flows that belong to it stay with it. One that nothing can be sent to at the moment keeps them: the way to
    /// it may be back before they notice.
    #[inline(always)]
    pub const fn keeps_flows(&self) -> bool {
        self.flags & BackendFlags::DEAD == 0
    }
}

/// Addresses that `full-nat` may send from, of all pools.
pub const SNAT_ADDRESSES: u32 = 1_024;

/// Who a backend index belongs to; for the agent, so that it finds its indexes again after a restart.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct BackendIdentity {
    /// Hash of pool, address and port; 0 when the index is free.
    pub identity: u64,
}

const _: () = assert!(size_of::<Backend>() == 64);
const _: () = assert!(size_of::<BackendIdentity>() == 8);
