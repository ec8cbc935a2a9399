//! Parsing: Ethernet, IPv4 or IPv6, TCP or UDP.
//!
//! Always holds: headers that were returned lie inside the packet, and the packet has all the bytes that its IP
//! header promises.

use crate::abi::{PassReason, is_mapped, mapped};
use crate::hash::Flow;
use crate::wire::{Window, ethernet, ipv4, ipv6, tcp, udp};

/// What the later stages need of a packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The 5-tuple.
    pub flow: Flow,
    /// Whether the packet is IPv4.
    pub v4: bool,
    /// Where the TCP or UDP header begins, from the start of the frame.
    pub transport_offset: usize,
    /// Length of the IP packet, header included.
    pub length_bytes: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// TCP's control bits; 0 for UDP.
    pub control: u8,
}

impl Headers {
    /// Whether the packet opens a TCP connection: SYN without ACK.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.control & (tcp::SYN | tcp::ACK) == tcp::SYN
    }
}

/// Family of a frame's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The family of a frame. The error is the reason to leave it to the stack.
///
/// # Errors
/// [`PassReason::NotIp`], or [`PassReason::Malformed`] if not even the Ethernet header is there.
#[inline(always)]
pub fn family(window: Window<'_>) -> Result<Family, PassReason> {
    let Some(frame) = window.chunk::<{ ethernet::LEN }>(0) else {
        return Err(PassReason::Malformed);
    };
    match frame.half::<{ ethernet::field::ETHER_TYPE }>() {
        ethernet::TYPE_IPV4 => Ok(Family::V4),
        ethernet::TYPE_IPV6 => Ok(Family::V6),
        _ => Err(PassReason::NotIp),
    }
}

/// Parses a frame of that family. The error is the reason to leave it to the stack.
///
/// # Errors
/// [`PassReason::OtherProtocol`], [`PassReason::Fragment`] or [`PassReason::Malformed`].
#[inline(always)]
pub fn parse(window: Window<'_>, family: Family) -> Result<Headers, PassReason> {
    match family {
        Family::V4 => parse_ipv4(window),
        Family::V6 => parse_ipv6(window),
    }
}

#[inline(always)]
fn parse_ipv4(window: Window<'_>) -> Result<Headers, PassReason> {
    let Some(ip) = window.chunk::<{ ipv4::LEN }>(ethernet::LEN) else {
        return Err(PassReason::Malformed);
    };
    let version_ihl = ip.byte::<{ ipv4::field::VERSION_IHL }>();
    let header_length = usize::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_length < ipv4::LEN {
        return Err(PassReason::Malformed);
    }
    let length_bytes = u16::from_be(ip.half::<{ ipv4::field::TOTAL_LENGTH }>());
    if ethernet::LEN + usize::from(length_bytes) > window.len() || usize::from(length_bytes) < header_length {
        return Err(PassReason::Malformed);
    }
    if ip.half::<{ ipv4::field::FRAGMENT }>() & ipv4::FRAGMENT_BITS != 0 {
        return Err(PassReason::Fragment);
    }
    let transport_offset = ethernet::LEN + header_length;
    let protocol = ip.byte::<{ ipv4::field::PROTOCOL }>();
    let room = usize::from(length_bytes) - header_length;
    let control = parse_transport(window, protocol, transport_offset, room)?;
    let Some((source_port, destination_port)) = ports(window, transport_offset) else {
        return Err(PassReason::Malformed);
    };
    Ok(Headers {
        flow: Flow {
            source: mapped(ip.word::<{ ipv4::field::SOURCE }>()),
            destination: mapped(ip.word::<{ ipv4::field::DESTINATION }>()),
            source_port,
            destination_port,
            protocol,
        },
        v4: true,
        transport_offset,
        length_bytes,
        ttl: ip.byte::<{ ipv4::field::TTL }>(),
        traffic_class: ip.byte::<{ ipv4::field::TYPE_OF_SERVICE }>(),
        control,
    })
}

#[inline(always)]
fn parse_ipv6(window: Window<'_>) -> Result<Headers, PassReason> {
    let Some(ip) = window.chunk::<{ ipv6::LEN }>(ethernet::LEN) else {
        return Err(PassReason::Malformed);
    };
    let version_class = u16::from_be(ip.half::<{ ipv6::field::VERSION }>());
    let payload = u16::from_be(ip.half::<{ ipv6::field::PAYLOAD_LENGTH }>());
    let Some(length_bytes) = payload.checked_add(u16::from(ipv6::LEN_BYTES)) else {
        return Err(PassReason::Malformed);
    };
    if version_class >> 12 != 6 || ethernet::LEN + usize::from(length_bytes) > window.len() {
        return Err(PassReason::Malformed);
    }
    let (source, destination) = (ipv6::source(ip), ipv6::destination(ip));
    if is_mapped(source) || is_mapped(destination) {
        // Such addresses are for hosts' inside and never on the wire (RFC 4038 section 4.2); in our tables they are IPv4.
        return Err(PassReason::Malformed);
    }
    let protocol = ip.byte::<{ ipv6::field::NEXT_HEADER }>();
    if protocol == ipv6::NEXT_FRAGMENT {
        return Err(PassReason::Fragment);
    }
    let transport_offset = ethernet::LEN + ipv6::LEN;
    let control = parse_transport(window, protocol, transport_offset, usize::from(payload))?;
    let Some((source_port, destination_port)) = ports(window, transport_offset) else {
        return Err(PassReason::Malformed);
    };
    Ok(Headers {
        flow: Flow { source, destination, source_port, destination_port, protocol },
        v4: false,
        transport_offset,
        length_bytes,
        ttl: ip.byte::<{ ipv6::field::HOP_LIMIT }>(),
        traffic_class: ((version_class >> 4) & 0xff) as u8,
        control,
    })
}

/// Source and destination port: the first two fields of TCP and of UDP.
#[inline(always)]
fn ports(window: Window<'_>, offset: usize) -> Option<(u16, u16)> {
    let header = window.chunk::<4>(offset)?;
    Some((header.half::<{ tcp::field::SOURCE_PORT }>(), header.half::<{ tcp::field::DESTINATION_PORT }>()))
}

/// Checks the transport header at `offset`, of which the IP packet has `room` bytes; gives TCP's control bits.
#[inline(always)]
fn parse_transport(window: Window<'_>, protocol: u8, offset: usize, room: usize) -> Result<u8, PassReason> {
    match protocol {
        tcp::PROTOCOL => {
            let Some(header) = window.chunk::<{ tcp::LEN }>(offset) else {
                return Err(PassReason::Malformed);
            };
            let header_length = usize::from(header.byte::<{ tcp::field::DATA_OFFSET }>() >> 4) * 4;
            if header_length < tcp::LEN || header_length > room {
                return Err(PassReason::Malformed);
            }
            Ok(header.byte::<{ tcp::field::FLAGS }>())
        }
        udp::PROTOCOL => {
            let Some(header) = window.chunk::<{ udp::LEN }>(offset) else {
                return Err(PassReason::Malformed);
            };
            let length = usize::from(u16::from_be(header.half::<{ udp::field::LENGTH }>()));
            if length < udp::LEN || length > room {
                return Err(PassReason::Malformed);
            }
            Ok(0)
        }
        _ => Err(PassReason::OtherProtocol),
    }
}
