//! VLAN tags (IEEE 802.1Q), between the MACs and the `EtherType`.

/// Length of a tag.
pub const LEN: usize = 4;
/// Tags that are followed at most.
pub const MOST: usize = 2;

/// `EtherType` of a customer's tag (802.1Q), as it lies in a frame.
pub const TYPE_CUSTOMER: u16 = u16::from_be(0x8100);
/// `EtherType` of a provider's tag (802.1ad), as it lies in a frame.
pub const TYPE_PROVIDER: u16 = u16::from_be(0x88a8);

/// Whether an `EtherType` is that of a tag.
#[inline(always)]
pub const fn is_tag(ether_type: u16) -> bool {
    ether_type == TYPE_CUSTOMER || ether_type == TYPE_PROVIDER
}
