//! Frontends beyond one address and one port: ranges of ports, and whole networks.
//!
//! Always holds: keys of longest-prefix tables begin with their length in bits and go on in the order in which bits count.

use super::{Address, ReverseValue, ServiceValue};
use bytemuck::{Pod, Zeroable};

/// Address, protocol and the leading bits of a port; the data of a key in a longest-prefix table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct PortsKey {
    /// The address.
    pub address: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0.
    pub zero: u8,
    /// Port, as it lies in the packet; bits beyond the prefix are 0.
    pub port: u16,
    /// Always 0: keeps values of the kernel's table aligned.
    pub zeros: u32,
}

impl PortsKey {
    /// Bits in front of the port.
    pub const BITS_BEFORE_PORT: u32 = 144;
    /// Bits of a key that names a single port: what is asked for.
    pub const BITS: u32 = Self::BITS_BEFORE_PORT + 16;
}

/// Value of a range of ports of a frontend.
pub type RangeValue = ServiceValue;

/// Value of a range of ports that replies come from; with port 0 the packet's own port stays.
pub type ReverseRangeValue = ReverseValue;

/// What a network of VIPs is looked up by instead: an address that no packet has.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NetworkValue {
    /// The address of its frontends' keys; of the kind that [`alias`] makes.
    pub alias: Address,
}

/// Bits of an address that a network's length counts: IPv4 networks lie in the v4-mapped part.
pub const ADDRESS_BITS: u32 = 128;

/// The address that stands for a network: first word as of a multicast address, which no VIP is, then its hash.
pub const fn alias(hash: u64, prefix_bits: u32) -> Address {
    #[expect(clippy::cast_possible_truncation, reason = "each half of the hash is a word")]
    let (high, low) = ((hash >> 32) as u32, hash as u32);
    [u32::from_be(0xff00_0000), prefix_bits, high, low]
}

const _: () = assert!(size_of::<PortsKey>() == 24);
const _: () = assert!(size_of::<NetworkValue>() == 16);
