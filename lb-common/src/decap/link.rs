//! The link layer: Ethernet with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use super::DecapReason;
use crate::wire::{Window, ethernet};

/// `EtherType` of an 802.1Q tag, as it lies in a frame.
const TYPE_TAG: u16 = u16::from_be(0x8100);
/// `EtherType` of an 802.1ad service tag, as it lies in a frame.
const TYPE_SERVICE_TAG: u16 = u16::from_be(0x88a8);

/// Length of a tag: what it holds, then the `EtherType` of what follows.
const TAG_LEN: usize = 4;
/// Offset of that `EtherType` in what lies behind the one that announced the tag.
const NEXT_TYPE: usize = 2;

/// Length of the header with one tag.
pub const ONE_TAG_LEN: usize = ethernet::LEN + TAG_LEN;
/// Length of the header with two tags.
pub const TWO_TAGS_LEN: usize = ONE_TAG_LEN + TAG_LEN;

/// The link layer's header.
#[derive(Clone, Copy)]
pub struct Link {
    /// Length, tags included: 14, 18 or 22.
    pub bytes: usize,
    /// `EtherType` behind the tags, as it lies in the frame.
    pub ether_type: u16,
}

/// Reads the header. The error is the reason to leave the frame to the stack. Behind a third tag nothing is looked at:
/// its type is the one returned.
#[inline(always)]
pub fn read(window: Window<'_>) -> Result<Link, DecapReason> {
    let Some(frame) = window.chunk::<{ ethernet::LEN }>(0) else {
        return Err(DecapReason::Malformed);
    };
    let ether_type = frame.half::<{ ethernet::field::ETHER_TYPE }>();
    if !is_tag(ether_type) {
        return Ok(Link { bytes: ethernet::LEN, ether_type });
    }
    let Some(tag) = window.chunk::<TAG_LEN>(ethernet::LEN) else {
        return Err(DecapReason::Malformed);
    };
    let ether_type = tag.half::<NEXT_TYPE>();
    if !is_tag(ether_type) {
        return Ok(Link { bytes: ONE_TAG_LEN, ether_type });
    }
    let Some(tag) = window.chunk::<TAG_LEN>(ONE_TAG_LEN) else {
        return Err(DecapReason::Malformed);
    };
    Ok(Link { bytes: TWO_TAGS_LEN, ether_type: tag.half::<NEXT_TYPE>() })
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, TYPE_TAG | TYPE_SERVICE_TAG)
}
