//! IPv4 (RFC 791).

use super::{Chunk, checksum};

/// Length of the header without options, as the number that lengths are reckoned with.
pub const LEN_BYTES: u8 = 20;
/// Length of the header without options.
pub const LEN: usize = LEN_BYTES as usize;
/// Protocol number of IPv4 in IP (RFC 2003).
pub const PROTOCOL_IPV4: u8 = 4;
/// Protocol number of IPv6 in IP (RFC 2473).
pub const PROTOCOL_IPV6: u8 = 41;
/// Don't Fragment, as it lies in a packet.
pub const DONT_FRAGMENT: u16 = u16::from_be(0x4000);
/// More Fragments and the fragment offset, as they lie in a packet.
pub const FRAGMENT_BITS: u16 = u16::from_be(0x3fff);

/// The fragment offset alone.
pub const FRAGMENT_OFFSET: u16 = u16::from_be(0x1fff);

/// Field offsets, by the RFC's names.
pub mod field {
    /// Version (high four bits) and IHL.
    pub const VERSION_IHL: usize = 0;
    /// Type of service: DSCP and ECN.
    pub const TYPE_OF_SERVICE: usize = 1;
    /// Total length.
    pub const TOTAL_LENGTH: usize = 2;
    /// Identification.
    pub const IDENTIFICATION: usize = 4;
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = 6;
    /// Time to live; with the protocol behind it one 16-bit word.
    pub const TTL: usize = 8;
    /// Protocol.
    pub const PROTOCOL: usize = 9;
    /// Header checksum.
    pub const CHECKSUM: usize = 10;
    /// Source address.
    pub const SOURCE: usize = 12;
    /// Destination address.
    pub const DESTINATION: usize = 16;
}

/// The header without its options.
pub type Ipv4<'a> = Chunk<'a, LEN>;

/// Takes one from the TTL and adapts the checksum for it and for `address_change` (RFC 1624).
#[inline(always)]
pub fn route(header: Ipv4<'_>, address_change: checksum::Change) {
    let ttl = header.byte::<{ field::TTL }>().wrapping_sub(1);
    set_ttl_after(header, ttl, address_change);
}

/// Sets the TTL and adapts the checksum.
#[inline(always)]
pub fn set_ttl(header: Ipv4<'_>, ttl: u8) {
    set_ttl_after(header, ttl, checksum::Change::NONE);
}

#[inline(always)]
fn set_ttl_after(header: Ipv4<'_>, ttl: u8, address_change: checksum::Change) {
    let old = header.half::<{ field::TTL }>();
    header.set_byte::<{ field::TTL }>(ttl);
    let change = address_change.half(old, header.half::<{ field::TTL }>());
    let sum = header.half::<{ field::CHECKSUM }>();
    header.set_half::<{ field::CHECKSUM }>(change.apply(sum));
}
