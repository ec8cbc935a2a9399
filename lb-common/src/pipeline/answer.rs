//! ICMP errors of the node's own: a packet that is too big for the way on, or whose TTL is used up, is answered to its sender
//! (RFC 792, RFC 1191, RFC 4443, RFC 8201).
//!
//! Always holds: the answer comes from the address that was asked, goes back the way the packet came (its MACs changed
//! places, its tags as they were), embeds the packet's beginning, and is worth a budget.

use super::{Complaint, Step, Verdict, Work, send};
use crate::abi::{Address, AnswerKind, DropReason, ForwardReason};
use crate::hash::Flow;
use crate::tables::{RouteAnswer, RouteQuestion, Tables};
use crate::wire::{Chunk, Packet, Window, checksum, ethernet, icmp, ipv4, ipv6, vlan};

/// TTL and hop limit of answers (the number that RFC 1700 recommends).
const TTL: u8 = 64;
/// Type of service of answers: internetwork control (RFC 1812 section 4.3.2.5).
const TYPE_OF_SERVICE: u16 = 0xc0;
/// Words of a packet that an answer embeds at most: an IPv6 header, 80 bytes of extension headers, 8 bytes of what is in it.
const MOST_WORDS: usize = 32;
/// Least MTU of a link that IPv4 goes over (RFC 791 section 3.2).
const LEAST_IPV4_MTU_BYTES: u16 = 68;
/// Least MTU of a link that IPv6 goes over (RFC 8200 section 5): nobody may be asked for less.
const LEAST_IPV6_MTU_BYTES: u16 = 1280;

/// Answers the packet that `work` describes.
#[inline(always)]
pub fn answer<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    let (drop, forward, kind) = match work.complaint {
        Complaint::TooBig => (DropReason::TooBig, ForwardReason::TooBigAnswer, AnswerKind::TooBig),
        Complaint::TooBigInTunnel => (DropReason::TooBig, ForwardReason::TooBigAnswer, AnswerKind::Relayed),
        Complaint::Expired => (DropReason::TtlExpired, ForwardReason::ExpiredAnswer, AnswerKind::Expired),
    };
    if work.complaint as u8 != Complaint::Expired as u8 {
        if !work.headers.v4 {
            work.mtu_bytes = work.mtu_bytes.max(LEAST_IPV6_MTU_BYTES);
        } else if work.mtu_bytes != 0 {
            work.mtu_bytes = work.mtu_bytes.max(LEAST_IPV4_MTU_BYTES);
        }
        // The MTU is not known, or the sender could not do anything about it.
        if work.mtu_bytes == 0 || work.mtu_bytes >= work.headers.length_bytes {
            return Step::Done(Verdict::Drop(drop));
        }
    }
    let headers = &work.headers;
    if !may_be_answered(packet.window(), &headers.flow, headers.v4) || !tables.may_answer(kind) {
        return Step::Done(Verdict::Drop(drop));
    }
    if work.complaint as u8 == Complaint::TooBigInTunnel as u8 {
        return Step::Done(relay(packet, tables, work).unwrap_or(Verdict::Drop(drop)));
    }
    Step::Done(match build(packet, work) {
        Some(()) => Verdict::Transmit(forward),
        None => Verdict::Drop(drop),
    })
}

/// Turns a router's complaint about a tunnel into one to the client, whose packet it embeds (RFC 2003 section 5, RFC 2473
/// section 8), and sends it the client's way.
#[inline(always)]
fn relay<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &Work) -> Option<Verdict> {
    let headers = &work.headers;
    let frame = Frame::read(packet.window())?;
    let way = send::by_route(
        packet,
        tables,
        &RouteQuestion {
            v4: headers.v4,
            protocol: if headers.v4 { icmp::PROTOCOL_V4 } else { icmp::PROTOCOL_V6 },
            length_bytes: 0,
            ingress_ifindex: packet.ingress_ifindex(),
            source: headers.flow.destination,
            destination: headers.flow.source,
        },
    );
    if way.answer as u8 != RouteAnswer::Found as u8 || !packet.shrink_head((work.skipped_bytes & 0xff) as u8)
    {
        return None;
    }
    // The addresses do not matter yet.
    frame.write_back(packet.window(), headers.offsets().ip, send::ether_type(headers.v4))?;
    build(packet, work)?;
    send::reframe(packet, headers.offsets().ip, 0, &way, send::ether_type(headers.v4)).ok()?;
    Some(send::leave(packet, way.hop.ifindex, ForwardReason::TooBigAnswer))
}

/// Whether the source is somebody whom an answer may be sent to, and the packet was for this node alone (RFC 1122 section
/// 3.2.2): answers leave with the MACs' places changed, and no frame is from a group.
#[inline(always)]
pub fn may_be_answered(window: Window<'_>, flow: &Flow, v4: bool) -> bool {
    let Some(frame) = window.chunk::<{ ethernet::LEN }>(0) else { return false };
    if (frame.byte::<0>() | frame.byte::<6>()) & ethernet::GROUP != 0 {
        return false;
    }
    let [a, b, c, d] = flow.source;
    if v4 {
        let first = u32::from_be(d) >> 24;
        // "This" network, loopback, and from multicast up.
        first != 0 && first != 127 && first < 224
    } else {
        u32::from_be(a) >> 24 != 0xff && (a | b | c) != 0
    }
}

/// Bytes that the packet gets in front of its IP header.
#[inline(always)]
const fn growth(v4: bool) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "eight bytes")]
    let icmp = icmp::LEN as u8;
    icmp + if v4 { ipv4::LEN_BYTES } else { ipv6::LEN_BYTES }
}

/// Turns the packet into the answer. None if there is no room, and then it is to be dropped.
#[inline(always)]
fn build<P: Packet>(packet: &mut P, work: &Work) -> Option<()> {
    let headers = &work.headers;
    let at = headers.offsets();
    let embedded = (headers.ip_header_bytes() + 8).min(MOST_WORDS * 4);
    let growth = growth(headers.v4);
    let frame = Frame::read(packet.window())?;
    if !packet.grow_head(growth) {
        return None;
    }
    let length = usize::from(growth) + embedded;
    if !packet.trim(at.ip + length) {
        return None;
    }
    let window = packet.window();
    frame.write_back(window, at.ip, send::ether_type(headers.v4))?;
    // From front to back: where a later check covers an earlier one the compiler leaves that out, and the verifier misses it.
    let icmp_at = at.ip + usize::from(growth) - icmp::LEN;
    #[expect(clippy::cast_possible_truncation, reason = "less than 200 bytes")]
    let length = length as u16;
    let flow = &headers.flow;
    let pseudo = if headers.v4 {
        write_ipv4(window, at.ip, length, flow.destination, flow.source)?;
        0
    } else {
        write_ipv6(window, at.ip, length, flow.destination, flow.source)?
    };
    let header = window.chunk_at::<{ icmp::LEN }>(icmp_at)?;
    let sum = pseudo + write_icmp(header, work);
    let sum = sum + u64::from(sum_of(window, icmp_at + icmp::LEN, embedded)?);
    header.set_half::<{ icmp::field::CHECKSUM }>(!checksum::fold(sum));
    Some(())
}

/// MACs and tags of a frame.
struct Frame {
    macs: [u32; 3],
    behind: [u32; 2],
}

impl Frame {
    #[inline(always)]
    fn read(window: Window<'_>) -> Option<Self> {
        let frame = window.chunk::<{ ethernet::LEN + vlan::MOST * vlan::LEN }>(0)?;
        Some(Self {
            macs: [frame.word::<0>(), frame.word::<4>(), frame.word::<8>()],
            behind: [frame.word::<12>(), frame.word::<16>()],
        })
    }

    /// Writes them in front of the IP header at `ip`, the MACs with their places changed, and what is behind.
    #[inline(always)]
    fn write_back(&self, window: Window<'_>, ip: usize, ether_type: u16) -> Option<()> {
        let frame = window.chunk::<{ ethernet::LEN + vlan::MOST * vlan::LEN }>(0)?;
        let swapped = ethernet::swapped(self.macs);
        frame.set_word::<0>(swapped[0]);
        frame.set_word::<4>(swapped[1]);
        frame.set_word::<8>(swapped[2]);
        let [first, second] = self.behind;
        if ip == ethernet::LEN {
            frame.set_half::<12>(ether_type);
        } else if ip == ethernet::LEN + vlan::LEN {
            frame.set_word::<12>(first);
            frame.set_half::<16>(ether_type);
        } else {
            frame.set_word::<12>(first);
            frame.set_word::<16>(second);
            frame.set_half::<20>(ether_type);
        }
        Some(())
    }
}

/// The sum of the `length` bytes at `at`.
#[inline(always)]
fn sum_of(window: Window<'_>, at: usize, length: usize) -> Option<u16> {
    let mut sum = 0_u64;
    for word in 0..MOST_WORDS {
        if word * 4 >= length {
            break;
        }
        sum += u64::from(window.chunk_at::<4>(at + word * 4)?.word::<0>());
    }
    Some(checksum::fold(sum))
}

#[inline(always)]
fn write_ipv4(
    window: Window<'_>,
    at: usize,
    length: u16,
    source: Address,
    destination: Address,
) -> Option<()> {
    let ([_, _, _, source], [_, _, _, destination]) = (source, destination);
    let ip = window.chunk_at::<{ ipv4::LEN }>(at)?;
    let version_class = (0x4500 | TYPE_OF_SERVICE).to_be();
    let ttl_protocol = (u16::from(TTL) << 8 | u16::from(icmp::PROTOCOL_V4)).to_be();
    let sum = u64::from(version_class)
        + u64::from(length.to_be())
        + u64::from(ipv4::DONT_FRAGMENT)
        + u64::from(ttl_protocol)
        + u64::from(source)
        + u64::from(destination);
    ip.set_half::<{ ipv4::field::VERSION_IHL }>(version_class);
    ip.set_half::<{ ipv4::field::TOTAL_LENGTH }>(length.to_be());
    ip.set_half::<{ ipv4::field::IDENTIFICATION }>(0);
    ip.set_half::<{ ipv4::field::FRAGMENT }>(ipv4::DONT_FRAGMENT);
    ip.set_half::<{ ipv4::field::TTL }>(ttl_protocol);
    ip.set_half::<{ ipv4::field::CHECKSUM }>(!checksum::fold(sum));
    ip.set_word::<{ ipv4::field::SOURCE }>(source);
    ip.set_word::<{ ipv4::field::DESTINATION }>(destination);
    Some(())
}

/// Returns the sum of the pseudo-header.
#[inline(always)]
fn write_ipv6(
    window: Window<'_>,
    at: usize,
    length: u16,
    source: Address,
    destination: Address,
) -> Option<u64> {
    let ip = window.chunk_at::<{ ipv6::LEN }>(at)?;
    let payload = length.wrapping_sub(u16::from(ipv6::LEN_BYTES)).to_be();
    ip.set_word::<{ ipv6::field::VERSION }>((0x6000_0000 | u32::from(TYPE_OF_SERVICE) << 20).to_be());
    ip.set_half::<{ ipv6::field::PAYLOAD_LENGTH }>(payload);
    ip.set_byte::<{ ipv6::field::NEXT_HEADER }>(icmp::PROTOCOL_V6);
    ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(TTL);
    ipv6::set_source(ip, source);
    ipv6::set_destination(ip, destination);
    let addresses = source.iter().chain(&destination).map(|word| u64::from(*word)).sum::<u64>();
    Some(addresses + u64::from(payload) + u64::from(u16::from(icmp::PROTOCOL_V6).to_be()))
}

/// Writes all but the checksum. Returns the sum of what it wrote.
#[inline(always)]
fn write_icmp(header: Chunk<'_, { icmp::LEN }>, work: &Work) -> u64 {
    let v4 = work.headers.v4;
    let (kind, code) = match (work.complaint, v4) {
        (Complaint::TooBig | Complaint::TooBigInTunnel, true) => {
            (icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED)
        }
        (Complaint::TooBig | Complaint::TooBigInTunnel, false) => (icmp::v6::PACKET_TOO_BIG, 0),
        (Complaint::Expired, true) => (icmp::v4::TIME_EXCEEDED, 0),
        (Complaint::Expired, false) => (icmp::v6::TIME_EXCEEDED, 0),
    };
    // Either family has it in the low half of a word whose high half is 0.
    let mtu = match work.complaint {
        Complaint::Expired => 0,
        Complaint::TooBig | Complaint::TooBigInTunnel => work.mtu_bytes,
    };
    let type_code = (u16::from(kind) << 8 | u16::from(code)).to_be();
    let rest = u32::from(mtu).to_be();
    header.set_half::<{ icmp::field::TYPE }>(type_code);
    header.set_word::<{ icmp::field::REST }>(rest);
    u64::from(type_code) + u64::from(rest)
}
