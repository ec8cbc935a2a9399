//! The way out: the cached next hop, else the kernel's routing table; and the frame that leaves by it.

use super::{Headers, Verdict};
use crate::abi::{Address, Backend, BackendFlags, DropReason, ForwardReason, NoteReason, Tags, tags_bytes};
use crate::tables::{NextHop, Route, RouteAnswer, RouteQuestion, Tables};
use crate::wire::{Packet, ethernet};

/// How a packet leaves. A struct for the reason given at [`crate::tables::Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What the tables say.
    pub answer: RouteAnswer,
    /// The next hop; zero unless there is one.
    pub hop: NextHop,
    /// VLAN tags that the frame gets.
    pub tags: Tags,
    /// The largest IP packet that it takes, if that is the question.
    pub mtu_bytes: u16,
}

/// The way to a backend for an IP packet of `length_bytes` from `source`.
#[inline(always)]
pub fn to_backend<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    backend: &Backend,
    protocol: u8,
    length_bytes: u16,
    source: Address,
) -> Way {
    if backend.flags & BackendFlags::RESOLVED != 0 {
        let answer = if length_bytes > backend.mtu_bytes { RouteAnswer::TooBig } else { RouteAnswer::Found };
        let hop = NextHop { ethernet: backend.ethernet, ifindex: backend.ifindex };
        let tagged = backend.flags & BackendFlags::TAGGED != 0;
        return by_link(tables, answer, hop, backend.mtu_bytes, tagged);
    }
    tables.count_verdict(NoteReason::RouteAsked.number());
    by_route(
        packet,
        tables,
        &RouteQuestion {
            v4: backend.flags & BackendFlags::V6 == 0,
            protocol,
            length_bytes,
            ingress_ifindex: packet.ingress_ifindex(),
            source,
            destination: backend.address,
        },
    )
}

/// The way that the kernel's routing table knows.
#[inline(always)]
pub fn by_route<P: Packet, T: Tables>(packet: &P, tables: &T, question: &RouteQuestion) -> Way {
    let Route { answer, hop, mtu_bytes } = tables.route(question);
    by_link(tables, answer, hop, mtu_bytes, hop.ifindex != packet.ingress_ifindex())
}

/// The way by an interface that may be a VLAN's, if `tagged`.
#[inline(always)]
fn by_link<T: Tables>(tables: &T, answer: RouteAnswer, hop: NextHop, mtu_bytes: u16, tagged: bool) -> Way {
    let mut way = Way { answer, hop, tags: [0; 2], mtu_bytes };
    if tagged && let Some(link) = tables.link(hop.ifindex) {
        way.hop.ifindex = link.port;
        way.tags = link.tags;
    }
    way
}

/// Gives the frame, whose IP header is at `ip`, the Ethernet header of `way`, with room for `growth` bytes behind it.
/// Returns where that room begins.
///
/// # Errors
/// [`DropReason::NoHeadroom`], with the packet untouched.
#[inline(always)]
pub fn reframe<P: Packet>(
    packet: &mut P,
    ip: usize,
    growth: u8,
    way: &Way,
    ether_type: u16,
) -> Result<usize, DropReason> {
    let header = ethernet::LEN + tags_bytes(way.tags);
    let wanted = header + usize::from(growth);
    // Both are small: two tags and an outer header.
    let moved = match wanted.checked_sub(ip) {
        Some(0) => true,
        #[expect(clippy::cast_possible_truncation, reason = "less than 70 bytes")]
        Some(more) => packet.grow_head(more as u8),
        #[expect(clippy::cast_possible_truncation, reason = "less than 10 bytes")]
        None => packet.shrink_head((ip - wanted) as u8),
    };
    if !moved {
        return Err(DropReason::NoHeadroom);
    }
    write_header(packet, way, ether_type).ok_or(DropReason::Inconsistent)?;
    Ok(header)
}

#[inline(always)]
fn write_header<P: Packet>(packet: &P, way: &Way, ether_type: u16) -> Option<()> {
    const TAG: usize = ethernet::field::ETHER_TYPE;
    let window = packet.window();
    let frame = window.chunk::<{ ethernet::LEN }>(0)?;
    ethernet::set_addresses(frame, way.hop.ethernet);
    match way.tags {
        [0, _] => frame.set_half::<TAG>(ether_type),
        [outer, 0] => {
            let frame = window.chunk::<{ ethernet::LEN + 4 }>(0)?;
            frame.set_word::<TAG>(outer);
            frame.set_half::<{ TAG + 4 }>(ether_type);
        }
        [outer, inner] => {
            let frame = window.chunk::<{ ethernet::LEN + 8 }>(0)?;
            frame.set_word::<TAG>(outer);
            frame.set_word::<{ TAG + 4 }>(inner);
            frame.set_half::<{ TAG + 8 }>(ether_type);
        }
    }
    Some(())
}

/// `EtherType` of a family.
#[inline(always)]
pub const fn ether_type(v4: bool) -> u16 {
    if v4 { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 }
}

/// Writes the MACs of a frame that has no tags and gets none, and says where it goes.
#[inline(always)]
pub fn send<P: Packet>(packet: &P, hop: &NextHop, reason: ForwardReason) -> Verdict {
    let Some(frame) = packet.window().chunk::<{ ethernet::LEN }>(0) else {
        return Verdict::Drop(DropReason::Inconsistent);
    };
    ethernet::set_addresses(frame, hop.ethernet);
    leave(packet, hop.ifindex, reason)
}

/// Says where a finished frame goes.
#[inline(always)]
pub fn leave<P: Packet>(packet: &P, ifindex: u32, reason: ForwardReason) -> Verdict {
    if ifindex == packet.ingress_ifindex() {
        Verdict::Transmit(reason)
    } else {
        Verdict::Redirect(reason, ifindex)
    }
}

/// Whether a packet that is too big for its way may be fragmented by a router.
#[inline(always)]
pub const fn may_be_fragmented(headers: &Headers) -> bool {
    headers.v4 && !headers.dont_fragment
}
