//! Names, keys and sizes of the decapsulator's maps.
//!
//! Imports `crate::abi` and bytemuck. Always holds: the statics in lb-ebpf carry these names and types; nothing is pinned,
//! so there is no version.

use crate::abi::Address;
use bytemuck::{Pod, Zeroable};

/// The program for frames in one piece.
pub const PROGRAM: &str = "lb_decap";
/// The program for frames in pieces (`BPF_F_XDP_HAS_FRAGS`).
pub const PROGRAM_FRAGS: &str = "lb_decap_frags";
/// [`PrefixKey`] to [`ACCEPTED`] or [`OTHER_FAMILY`], LPM trie: the VIPs.
pub const VIPS: &str = "LB_DECAP_VIPS";
/// [`Address`] to [`ACCEPTED`], hash: addresses of this machine that tunnels may end at.
pub const ENDS: &str = "LB_DECAP_ENDS";
/// As [`VIPS`]: addresses that tunnels may start from.
pub const SOURCES: &str = "LB_DECAP_FROM";
/// Number of a [`super::DecapReason`] to packets (u64), per-CPU array.
pub const COUNTERS: &str = "LB_DECAP_COUNT";
/// Global (u32): the GUE port as it lies in a packet.
pub const GUE_PORT: &str = "GUE_PORT";
/// Global (u32): 1 if tunnels may start anywhere.
pub const ANY_SOURCE: &str = "ANY_SOURCE";

/// VIP prefixes that there is room for.
pub const MAX_VIPS: u32 = 4_096;
/// Tunnel addresses that there is room for.
pub const MAX_ENDS: u32 = 1_024;
/// Source prefixes that there is room for.
pub const MAX_SOURCES: u32 = 4_096;

/// UDP port of GUE, as IANA assigned it.
pub const DEFAULT_GUE_PORT: u16 = 6_080;

/// Value of an entry that accepts.
pub const ACCEPTED: u32 = 1;
/// Value of the entry [`PrefixKey::ALL_IPV4`], so that a short IPv6 prefix does not cover the IPv4 addresses.
pub const OTHER_FAMILY: u32 = 0;

/// A prefix of addresses, as the kernel's LPM trie has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct PrefixKey {
    /// Bits that count, of 128, as a number of the machine; an IPv4 prefix has 96 more than it is written with.
    pub bits: u32,
    /// The address, v4-mapped for IPv4; bits behind the prefix do not matter.
    pub address: Address,
}

const _: () = assert!(size_of::<PrefixKey>() == 20);

impl PrefixKey {
    /// Bits of an address.
    pub const ADDRESS_BITS: u32 = 128;
    /// Bits in front of the IPv4 address in its v4-mapped form.
    pub const MAPPED_BITS: u32 = 96;
    /// Every IPv4 address.
    pub const ALL_IPV4: Self = Self { bits: Self::MAPPED_BITS, address: crate::abi::mapped(0) };

    /// A single address.
    #[inline(always)]
    pub const fn single(address: Address) -> Self {
        Self { bits: Self::ADDRESS_BITS, address }
    }

    /// The prefix `ip/length`; none if `length` is beyond the address's bits.
    #[cfg(any(feature = "host", test))]
    pub fn new(ip: core::net::IpAddr, length: u8) -> Option<Self> {
        let (most, before) = if ip.is_ipv4() { (32, Self::MAPPED_BITS) } else { (128, 0) };
        (length <= most).then(|| Self { bits: before + u32::from(length), address: crate::abi::address(ip) })
    }

    /// Whether `address` is in the prefix and of its family.
    #[cfg(any(feature = "host", test))]
    pub fn covers(&self, address: &Address) -> bool {
        let as_number = |address: Address| u128::from_be_bytes(bytemuck::cast(address));
        let shift = Self::ADDRESS_BITS.saturating_sub(self.bits);
        let differ = as_number(self.address) ^ as_number(*address);
        let same_family = self.is_v4() == crate::abi::is_mapped(*address);
        same_family && differ.checked_shr(shift).unwrap_or(0) == 0
    }

    /// Whether it is a prefix of IPv4 addresses.
    pub const fn is_v4(&self) -> bool {
        self.bits >= Self::MAPPED_BITS && crate::abi::is_mapped(self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::address;

    fn prefix(ip: &str, length: u8) -> PrefixKey {
        PrefixKey::new(ip.parse().unwrap(), length).unwrap()
    }

    fn covers(prefix: PrefixKey, ip: &str) -> bool {
        prefix.covers(&address(ip.parse().unwrap()))
    }

    #[test]
    fn a_prefix_covers_its_addresses_only() {
        let net = prefix("203.0.113.0", 28);
        assert!(covers(net, "203.0.113.0") && covers(net, "203.0.113.15"));
        assert!(!covers(net, "203.0.113.16") && !covers(net, "203.0.112.255"));
        let single = prefix("2001:db8::10", 128);
        assert!(covers(single, "2001:db8::10") && !covers(single, "2001:db8::11"));
        assert!(covers(prefix("2001:db8::", 32), "2001:db8:ffff::1"));
    }

    #[test]
    fn a_prefix_of_one_family_never_covers_the_other() {
        assert!(!covers(prefix("::", 0), "203.0.113.10") && covers(prefix("::", 0), "2001:db8::1"));
        assert!(!covers(prefix("0.0.0.0", 0), "2001:db8::1") && covers(prefix("0.0.0.0", 0), "203.0.113.10"));
    }

    #[test]
    fn a_prefix_is_no_longer_than_its_address() {
        assert_eq!(PrefixKey::new("10.0.0.0".parse().unwrap(), 33), None);
        assert_eq!(PrefixKey::new("::".parse().unwrap(), 129), None);
        assert_eq!(prefix("10.0.0.0", 8).bits, 104);
    }
}
