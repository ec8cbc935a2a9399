//! Taking the outer headers off: the link layer's header moves forward, the packet's head with it.
//!
//! Always holds: the header moves field by field through words, never as an array, which would become a call that loops
//! over bytes.

use super::link::{Link, ONE_TAG_LEN, TWO_TAGS_LEN};
use crate::wire::{Packet, ethernet};

/// Offset of the first tag: its `EtherType` and what it holds, in one word.
const FIRST_TAG: usize = ethernet::field::ETHER_TYPE;
/// Offset of the second tag.
const SECOND_TAG: usize = FIRST_TAG + 4;
/// Offset of the `EtherType` behind two tags.
const LAST_TYPE: usize = SECOND_TAG + 4;

/// Takes away what lies between the link layer's header and `inner_offset`, and sets the `EtherType` behind the tags.
/// None if there is no room to: the packet must not be passed then.
#[inline(always)]
pub fn strip<P: Packet>(packet: &mut P, link: Link, inner_offset: usize, ether_type: u16) -> Option<()> {
    let frame = packet.window().chunk::<{ ethernet::LEN }>(0)?;
    let addresses = [frame.word::<0>(), frame.word::<4>(), frame.word::<8>()];
    let mut tags = [0; 2];
    if link.bytes > ethernet::LEN {
        let frame = packet.window().chunk::<ONE_TAG_LEN>(0)?;
        tags = [frame.word::<FIRST_TAG>(), 0];
    }
    if link.bytes > ONE_TAG_LEN {
        let frame = packet.window().chunk::<TWO_TAGS_LEN>(0)?;
        let [first, _] = tags;
        tags = [first, frame.word::<SECOND_TAG>()];
    }
    // At most 60 bytes of IPv4 header, 8 of UDP and 4 of GUE.
    let outer_bytes = u8::try_from(inner_offset.checked_sub(link.bytes)?).ok()?;
    if !packet.shrink_head(outer_bytes) {
        return None;
    }
    let [first, second] = tags;
    match link.bytes {
        TWO_TAGS_LEN => {
            let frame = packet.window().chunk::<TWO_TAGS_LEN>(0)?;
            frame.set_word::<FIRST_TAG>(first);
            frame.set_word::<SECOND_TAG>(second);
            frame.set_half::<LAST_TYPE>(ether_type);
        }
        ONE_TAG_LEN => {
            let frame = packet.window().chunk::<ONE_TAG_LEN>(0)?;
            frame.set_word::<FIRST_TAG>(first);
            frame.set_half::<SECOND_TAG>(ether_type);
        }
        _ => {
            let frame = packet.window().chunk::<{ ethernet::LEN }>(0)?;
            frame.set_half::<{ ethernet::field::ETHER_TYPE }>(ether_type);
        }
    }
    let frame = packet.window().chunk::<{ ethernet::LEN }>(0)?;
    ethernet::set_addresses(frame, addresses);
    Some(())
}
