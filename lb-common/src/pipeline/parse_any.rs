//! Parsing everything that is understood: VLAN tags, IPv4 options, IPv6 extension headers, fragments, ICMP.
//!
//! Always holds: as for `parse`; and every loop has a bound.

use super::headers::MOST_TRANSPORT_OFFSET;
use super::parse::{Ipv4, Ipv6, is_followed, parse_transport, ports};
use super::{Fragment, Headers};
use crate::abi::PassReason;
use crate::wire::{Packet, Window, ethernet, icmp, ipv4, ipv6, tcp, vlan};

/// IPv6 extension headers that are followed at most.
pub const MOST_EXTENSIONS: usize = 6;

/// Parses a frame into `headers`, where they shall lie: a copy of them would be a call that loops over bytes. The error is the
/// reason to leave it to the stack.
///
/// # Errors
/// Every [`PassReason`] of a packet that cannot be anybody's.
#[inline(always)]
pub fn parse_any<P: Packet>(packet: &P, headers: &mut Headers) -> Result<(), PassReason> {
    let window = packet.window();
    let (ether_type, offset) = ether_type(window).ok_or(PassReason::Malformed)?;
    match ether_type {
        ethernet::TYPE_IPV4 => parse_ipv4(window, packet.len_bytes(), offset, headers),
        ethernet::TYPE_IPV6 => parse_ipv6(window, packet.len_bytes(), offset, headers),
        _ => Err(PassReason::NotIp),
    }
}

/// What is behind the tags, and where.
#[inline(always)]
fn ether_type(window: Window<'_>) -> Option<(u16, usize)> {
    let frame = window.chunk::<{ ethernet::LEN }>(0)?;
    let outer = frame.half::<{ ethernet::field::ETHER_TYPE }>();
    if !vlan::is_tag(outer) {
        return Some((outer, ethernet::LEN));
    }
    let tag = window.chunk::<{ vlan::LEN }>(ethernet::LEN)?;
    let inner = tag.half::<2>();
    if !vlan::is_tag(inner) {
        return Some((inner, ethernet::LEN + vlan::LEN));
    }
    let tag = window.chunk::<{ vlan::LEN }>(ethernet::LEN + vlan::LEN)?;
    Some((tag.half::<2>(), ethernet::LEN + vlan::MOST * vlan::LEN))
}

#[inline(always)]
fn parse_ipv4(
    window: Window<'_>,
    len_bytes: usize,
    offset: usize,
    headers: &mut Headers,
) -> Result<(), PassReason> {
    let ip = Ipv4::parse(window, len_bytes, offset)?;
    let transport = offset + ip.header_bytes;
    headers.set_offsets(offset, transport);
    let room = usize::from(ip.length_bytes) - ip.header_bytes;
    let fragment_offset = ip.fragment_bits & ipv4::FRAGMENT_OFFSET;
    headers.control = 0;
    headers.fragment = match ip.fragment_bits & ipv4::FRAGMENT_BITS {
        0 => Fragment::Whole,
        _ if fragment_offset == 0 => Fragment::First,
        _ => Fragment::Later,
    };
    // A fragment that would overwrite the second half of a TCP header (RFC 1858 section 3).
    if fragment_offset == u16::from_be(1) && ip.protocol == tcp::PROTOCOL {
        return Err(PassReason::Malformed);
    }
    let found = parse_inside(window, ip.protocol, transport, room, headers)?;
    ip.describe(headers, found);
    Ok(())
}

#[inline(always)]
fn parse_ipv6(
    window: Window<'_>,
    len_bytes: usize,
    offset: usize,
    headers: &mut Headers,
) -> Result<(), PassReason> {
    let ip = Ipv6::parse(window, len_bytes, offset)?;
    let walk = Walk::over(window, ip.next_header, offset + ipv6::LEN)?;
    let end = offset + usize::from(ip.length_bytes);
    let Some(room) = end.checked_sub(walk.at) else { return Err(PassReason::Malformed) };
    headers.set_offsets(offset, walk.at);
    headers.control = 0;
    headers.fragment = walk.fragment;
    let found = parse_inside(window, walk.protocol, walk.at, room, headers)?;
    ip.describe(headers, walk.protocol, found);
    headers.identification = walk.identification;
    Ok(())
}

/// Where a chain of extension headers leads (RFC 8200 section 4).
pub struct Walk {
    /// What is behind it.
    pub protocol: u8,
    /// Where that begins.
    pub at: usize,
    /// What its fragment header says.
    pub fragment: Fragment,
    identification: u32,
}

impl Walk {
    /// Walks from the header of type `protocol` at `at`.
    #[inline(always)]
    pub fn over(window: Window<'_>, protocol: u8, at: usize) -> Result<Self, PassReason> {
        let mut walk = Self { protocol, at, fragment: Fragment::Whole, identification: 0 };
        for _ in 0..MOST_EXTENSIONS {
            if walk.is_over() {
                break;
            }
            walk.step(window)?;
        }
        if !walk.is_over() || walk.at > MOST_TRANSPORT_OFFSET {
            return Err(PassReason::Extensions);
        }
        Ok(walk)
    }

    #[inline(always)]
    fn is_over(&self) -> bool {
        !is_followed(self.protocol) || self.fragment as u8 == Fragment::Later as u8
    }

    #[inline(always)]
    fn step(&mut self, window: Window<'_>) -> Result<(), PassReason> {
        if self.at > MOST_TRANSPORT_OFFSET {
            return Err(PassReason::Extensions);
        }
        let Some(extension) = window.chunk::<{ ipv6::extension::LEN }>(self.at) else {
            return Err(PassReason::Malformed);
        };
        let mut length = ipv6::extension::LEN;
        if self.protocol == ipv6::NEXT_FRAGMENT {
            let bits = extension.half::<{ ipv6::extension::FRAGMENT }>() & ipv6::FRAGMENT_BITS;
            self.identification = extension.word::<{ ipv6::extension::IDENTIFICATION }>();
            self.fragment = match bits {
                // An atomic fragment is a whole datagram (RFC 6946).
                0 => self.fragment,
                _ if bits & ipv6::FRAGMENT_OFFSET == 0 => Fragment::First,
                _ => Fragment::Later,
            };
        } else {
            let routes_on = self.protocol == ipv6::NEXT_ROUTING
                && extension.byte::<{ ipv6::extension::SEGMENTS_LEFT }>() != 0;
            if routes_on {
                return Err(PassReason::Extensions);
            }
            length += usize::from(extension.byte::<{ ipv6::extension::LENGTH }>()) * 8;
        }
        self.protocol = extension.byte::<{ ipv6::extension::NEXT_HEADER }>();
        self.at += length;
        // Only the IPv6 header itself may name it (RFC 8200 section 4.1).
        if self.protocol == ipv6::NEXT_HOP_BY_HOP {
            return Err(PassReason::Extensions);
        }
        Ok(())
    }
}

/// What is inside the IP packet: ports, and TCP's control bits in `headers`.
#[inline(always)]
fn parse_inside(
    window: Window<'_>,
    protocol: u8,
    offset: usize,
    room: usize,
    headers: &mut Headers,
) -> Result<(u16, u16), PassReason> {
    if headers.fragment == Fragment::Later {
        return Ok((0, 0));
    }
    if matches!(protocol, icmp::PROTOCOL_V4 | icmp::PROTOCOL_V6) {
        return if room < icmp::LEN { Err(PassReason::Malformed) } else { Ok((0, 0)) };
    }
    headers.control = parse_transport(window, protocol, offset, room, headers.fragment)?;
    ports(window, offset).ok_or(PassReason::Malformed)
}
