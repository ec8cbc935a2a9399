//! Ethernet II.

use super::Chunk;

/// Length of the header without tags.
pub const LEN: usize = 14;

/// Field offsets.
pub mod field {
    /// Destination MAC; the source MAC follows.
    pub const ADDRESSES: usize = 0;
    /// `EtherType`.
    pub const ETHER_TYPE: usize = 12;
}

/// `EtherType` of IPv4, as it lies in a frame.
pub const TYPE_IPV4: u16 = u16::from_be(0x0800);
/// `EtherType` of IPv6, as it lies in a frame.
pub const TYPE_IPV6: u16 = u16::from_be(0x86dd);

/// Bit of a MAC's first byte that makes it a group's (IEEE 802, "individual/group").
pub const GROUP: u8 = 1;

/// The header.
pub type Ethernet<'a> = Chunk<'a, LEN>;

/// Both MACs as they lie in the frame.
#[inline(always)]
pub fn addresses(header: Ethernet<'_>) -> [u32; 3] {
    const AT: usize = field::ADDRESSES;
    [header.word::<AT>(), header.word::<{ AT + 4 }>(), header.word::<{ AT + 8 }>()]
}

/// Both MACs with their places changed.
#[inline(always)]
pub const fn swapped([a, b, c]: [u32; 3]) -> [u32; 3] {
    // On a little-endian machine a word's low half is what comes first.
    [(b >> 16) | (c << 16), (c >> 16) | (a << 16), (a >> 16) | (b << 16)]
}

/// Writes both MACs, given as destination and source lie in a frame.
#[inline(always)]
pub fn set_addresses(header: Ethernet<'_>, addresses: [u32; 3]) {
    let [a, b, c] = addresses;
    header.set_word::<{ field::ADDRESSES }>(a);
    header.set_word::<{ field::ADDRESSES + 4 }>(b);
    header.set_word::<{ field::ADDRESSES + 8 }>(c);
}
