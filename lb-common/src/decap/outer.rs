//! The outer headers: IPv4 with or without options, or IPv6 without extension headers; then UDP where it is GUE.
//!
//! Always holds: what was returned lies inside the frame, by its lengths; addresses are looked up by nobody here.

use super::DecapReason;
use super::link::Link;
use crate::abi::{Address, is_mapped, mapped};
use crate::wire::{Chunk, Window, checksum, ipv4, ipv6, udp};

/// Words of options that an IPv4 header can have: 60 bytes less 20.
const MAX_OPTION_WORDS: usize = 10;

/// A sum of a sound header, its checksum included (RFC 1071).
const SOUND_SUM: u16 = 0xffff;

/// Length of the UDP header, as the number that lengths are reckoned with.
const UDP_LEN_BYTES: u16 = 8;
const _: () = assert!(UDP_LEN_BYTES as usize == udp::LEN);

/// An outer header that may be a tunnel's.
#[derive(Clone, Copy)]
pub struct Outer {
    /// Whether it is IPv4.
    pub v4: bool,
    /// Source.
    pub source: Address,
    /// Destination.
    pub destination: Address,
    /// 4, 41 or 17.
    pub protocol: u8,
    /// ECN field.
    pub ecn: u8,
    /// Where its payload begins, from the start of the frame.
    pub payload_offset: usize,
    /// Length of its payload.
    pub payload_bytes: u16,
}

/// What a tunnel carries.
#[derive(Clone, Copy)]
pub struct Tunnel {
    /// Whether it is GUE.
    pub gue: bool,
    /// Whether an IPv4 packet is announced: by the protocol, or by the GUE header.
    pub v4: bool,
    /// Where it begins, from the start of the frame.
    pub offset: usize,
    /// Its length.
    pub bytes: u16,
}

/// Whether a packet of this protocol may be a tunnel's: the first question, so that other packets pass early.
#[inline(always)]
const fn may_be_tunnel(protocol: u8) -> bool {
    matches!(protocol, ipv4::PROTOCOL_IPV4 | ipv4::PROTOCOL_IPV6 | udp::PROTOCOL)
}

/// Reads an outer IPv4 header. The error is the reason to leave the frame to the stack.
#[inline(always)]
pub fn read_ipv4(window: Window<'_>, link: Link, frame_bytes: usize) -> Result<Outer, DecapReason> {
    let Some(ip) = window.chunk::<{ ipv4::LEN }>(link.bytes) else {
        return Err(DecapReason::Malformed);
    };
    let protocol = ip.byte::<{ ipv4::field::PROTOCOL }>();
    if !may_be_tunnel(protocol) {
        return Err(DecapReason::OtherProtocol);
    }
    if ip.half::<{ ipv4::field::FRAGMENT }>() & ipv4::FRAGMENT_BITS != 0 {
        return Err(DecapReason::Fragment);
    }
    let version_ihl = ip.byte::<{ ipv4::field::VERSION_IHL }>();
    let header_bytes = u16::from(version_ihl & 0x0f) * 4;
    let length_bytes = u16::from_be(ip.half::<{ ipv4::field::TOTAL_LENGTH }>());
    if version_ihl >> 4 != 4
        || header_bytes < u16::from(ipv4::LEN_BYTES)
        || length_bytes < header_bytes
        || link.bytes + usize::from(length_bytes) > frame_bytes
        || !is_sound(window, ip, link.bytes + ipv4::LEN, header_bytes)
    {
        return Err(DecapReason::Malformed);
    }
    Ok(Outer {
        v4: true,
        source: mapped(ip.word::<{ ipv4::field::SOURCE }>()),
        destination: mapped(ip.word::<{ ipv4::field::DESTINATION }>()),
        protocol,
        ecn: ip.byte::<{ ipv4::field::TYPE_OF_SERVICE }>() & 0x3,
        payload_offset: link.bytes + usize::from(header_bytes),
        payload_bytes: length_bytes - header_bytes,
    })
}

/// Whether the header's checksum is right. The stack never sees this header, so it cannot look itself (RFC 1122, section
/// 3.2.1.2).
#[inline(always)]
fn is_sound(window: Window<'_>, ip: Chunk<'_, { ipv4::LEN }>, options: usize, header_bytes: u16) -> bool {
    let mut sum = u64::from(ip.word::<0>())
        + u64::from(ip.word::<4>())
        + u64::from(ip.word::<8>())
        + u64::from(ip.word::<12>())
        + u64::from(ip.word::<16>());
    let words = (usize::from(header_bytes) - ipv4::LEN) / 4;
    for at in 0..MAX_OPTION_WORDS {
        if at >= words {
            break;
        }
        let Some(option) = window.chunk::<4>(options + at * 4) else { return false };
        sum += u64::from(option.word::<0>());
    }
    checksum::fold(sum) == SOUND_SUM
}

/// Reads an outer IPv6 header. The error is the reason to leave the frame to the stack.
#[inline(always)]
pub fn read_ipv6(window: Window<'_>, link: Link, frame_bytes: usize) -> Result<Outer, DecapReason> {
    let Some(ip) = window.chunk::<{ ipv6::LEN }>(link.bytes) else {
        return Err(DecapReason::Malformed);
    };
    let protocol = ip.byte::<{ ipv6::field::NEXT_HEADER }>();
    if protocol == ipv6::NEXT_FRAGMENT {
        return Err(DecapReason::Fragment);
    }
    if !may_be_tunnel(protocol) {
        return Err(DecapReason::OtherProtocol);
    }
    let version_class = u16::from_be(ip.half::<{ ipv6::field::VERSION }>());
    let payload_bytes = u16::from_be(ip.half::<{ ipv6::field::PAYLOAD_LENGTH }>());
    let (source, destination) = (ipv6::source(ip), ipv6::destination(ip));
    if version_class >> 12 != 6
        || link.bytes + ipv6::LEN + usize::from(payload_bytes) > frame_bytes
        // In our tables such addresses are IPv4; they are never on the wire (RFC 4038, section 4.2).
        || is_mapped(source)
        || is_mapped(destination)
    {
        return Err(DecapReason::Malformed);
    }
    Ok(Outer {
        v4: false,
        source,
        destination,
        protocol,
        ecn: ((version_class >> 4) & 0x3) as u8,
        payload_offset: link.bytes + ipv6::LEN,
        payload_bytes,
    })
}

/// What the outer header's payload is, if it is a tunnel's. The error is the reason to leave the frame to the stack. For
/// GUE it still begins with the GUE header, see `gue`. A UDP checksum is not looked at: the payload would have to be
/// summed up, and the inner packet has checksums of its own (RFC 6935).
#[inline(always)]
pub fn tunnel(window: Window<'_>, outer: &Outer, gue_port: u16) -> Result<Tunnel, DecapReason> {
    let offset = outer.payload_offset;
    let v4 = match outer.protocol {
        ipv4::PROTOCOL_IPV4 => true,
        ipv4::PROTOCOL_IPV6 => false,
        _ => return udp_tunnel(window, outer, gue_port),
    };
    Ok(Tunnel { gue: false, v4, offset, bytes: outer.payload_bytes })
}

#[inline(always)]
fn udp_tunnel(window: Window<'_>, outer: &Outer, gue_port: u16) -> Result<Tunnel, DecapReason> {
    let Some(header) = window.chunk::<{ udp::LEN }>(outer.payload_offset) else {
        return Err(DecapReason::Malformed);
    };
    if header.half::<{ udp::field::DESTINATION_PORT }>() != gue_port {
        return Err(DecapReason::OtherProtocol);
    }
    let length_bytes = u16::from_be(header.half::<{ udp::field::LENGTH }>());
    if length_bytes > outer.payload_bytes {
        return Err(DecapReason::Malformed);
    }
    let Some(bytes) = length_bytes.checked_sub(UDP_LEN_BYTES) else {
        return Err(DecapReason::Malformed);
    };
    Ok(Tunnel { gue: true, v4: false, offset: outer.payload_offset + udp::LEN, bytes })
}
