//! IPv6 (RFC 8200).

use super::Chunk;

/// Length of the header, as the number that lengths are reckoned with.
pub const LEN_BYTES: u8 = 40;
/// Length of the header.
pub const LEN: usize = LEN_BYTES as usize;
/// Bits of the first word that are the flow label.
pub const FLOW_LABEL: u32 = 0x000f_ffff;

/// Field offsets, by the RFC's names.
pub mod field {
    /// Version, traffic class and flow label.
    pub const VERSION: usize = 0;
    /// Payload length.
    pub const PAYLOAD_LENGTH: usize = 4;
    /// Next header.
    pub const NEXT_HEADER: usize = 6;
    /// Hop limit.
    pub const HOP_LIMIT: usize = 7;
    /// Source address.
    pub const SOURCE: usize = 8;
    /// Destination address.
    pub const DESTINATION: usize = 24;
}

/// Next header number of the hop-by-hop options header.
pub const NEXT_HOP_BY_HOP: u8 = 0;
/// Next header number of the routing header.
pub const NEXT_ROUTING: u8 = 43;
/// Next header number of the fragment header.
pub const NEXT_FRAGMENT: u8 = 44;
/// Next header number of the destination options header.
pub const NEXT_DESTINATION_OPTIONS: u8 = 60;

/// Field offsets of extension headers.
pub mod extension {
    /// Next header.
    pub const NEXT_HEADER: usize = 0;
    /// Length in units of eight bytes, without the first eight.
    pub const LENGTH: usize = 1;
    /// Segments left (routing header).
    pub const SEGMENTS_LEFT: usize = 3;
    /// Fragment offset and More Fragments (fragment header).
    pub const FRAGMENT: usize = 2;
    /// Identification (fragment header).
    pub const IDENTIFICATION: usize = 4;
    /// Length of the fragment header, and the least of all others.
    pub const LEN: usize = 8;
}

/// More Fragments and the fragment offset of a fragment header, as they lie in a packet.
pub const FRAGMENT_BITS: u16 = u16::from_be(0xfff9);
/// The fragment offset alone.
pub const FRAGMENT_OFFSET: u16 = u16::from_be(0xfff8);

/// The header.
pub type Ipv6<'a> = Chunk<'a, LEN>;

/// The address at offset `AT`.
#[inline(always)]
pub fn address<const AT: usize, const A1: usize, const A2: usize, const A3: usize>(
    header: Ipv6<'_>,
) -> [u32; 4] {
    [header.word::<AT>(), header.word::<A1>(), header.word::<A2>(), header.word::<A3>()]
}

/// The source address.
#[inline(always)]
pub fn source(header: Ipv6<'_>) -> [u32; 4] {
    address::<8, 12, 16, 20>(header)
}

/// The destination address.
#[inline(always)]
pub fn destination(header: Ipv6<'_>) -> [u32; 4] {
    address::<24, 28, 32, 36>(header)
}

/// Writes the source address.
#[inline(always)]
pub fn set_source(header: Ipv6<'_>, [a, b, c, d]: [u32; 4]) {
    header.set_word::<8>(a);
    header.set_word::<12>(b);
    header.set_word::<16>(c);
    header.set_word::<20>(d);
}

/// Writes the destination address.
#[inline(always)]
pub fn set_destination(header: Ipv6<'_>, [a, b, c, d]: [u32; 4]) {
    header.set_word::<24>(a);
    header.set_word::<28>(b);
    header.set_word::<32>(c);
    header.set_word::<36>(d);
}
