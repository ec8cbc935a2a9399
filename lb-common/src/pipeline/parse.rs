//! Parsing what the fast path takes: Ethernet without tags, IPv4 or IPv6 without extension headers, TCP or UDP, whole.
//!
//! Always holds: headers that were returned lie inside the packet, and the packet has all the bytes that its IP
//! header promises.

use super::{Fragment, Headers, Stage, Step, Verdict};
use crate::abi::{PassReason, is_mapped, mapped};
use crate::hash::Flow;
use crate::wire::{Window, ethernet, icmp, ipv4, ipv6, tcp, udp, vlan};

/// Family of a frame's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What becomes of a packet that is left to the stack.
#[inline(always)]
pub const fn pass(reason: PassReason) -> Step {
    Step::Done(Verdict::Pass(reason))
}

/// The family of a frame, or what becomes of it else.
#[inline(always)]
pub fn family(window: Window<'_>) -> Result<Family, Step> {
    let Some(frame) = window.chunk::<{ ethernet::LEN }>(0) else {
        return Err(pass(PassReason::Malformed));
    };
    match frame.half::<{ ethernet::field::ETHER_TYPE }>() {
        ethernet::TYPE_IPV4 => Ok(Family::V4),
        ethernet::TYPE_IPV6 => Ok(Family::V6),
        vlan::TYPE_CUSTOMER | vlan::TYPE_PROVIDER => Err(Step::Go(Stage::Examine)),
        _ => Err(pass(PassReason::NotIp)),
    }
}

/// Parses a frame of that family and of `len_bytes`; or says what becomes of it else.
#[inline(always)]
pub fn parse(window: Window<'_>, len_bytes: usize, family: Family) -> Result<Headers, Step> {
    match family {
        Family::V4 => parse_ipv4(window, len_bytes),
        Family::V6 => parse_ipv6(window, len_bytes),
    }
}

#[inline(always)]
fn parse_ipv4(window: Window<'_>, len_bytes: usize) -> Result<Headers, Step> {
    let ip = Ipv4::parse(window, len_bytes, ethernet::LEN).map_err(pass)?;
    if ip.fragment_bits & ipv4::FRAGMENT_BITS != 0 || ip.protocol == icmp::PROTOCOL_V4 {
        return Err(Step::Go(Stage::Examine));
    }
    let mut headers = Headers::at(ethernet::LEN, ethernet::LEN + ip.header_bytes);
    let room = usize::from(ip.length_bytes) - ip.header_bytes;
    headers.control =
        parse_transport(window, ip.protocol, ethernet::LEN + ip.header_bytes, room, Fragment::Whole)
            .map_err(pass)?;
    let Some(ports) = ports(window, ethernet::LEN + ip.header_bytes) else {
        return Err(pass(PassReason::Malformed));
    };
    ip.describe(&mut headers, ports);
    Ok(headers)
}

#[inline(always)]
fn parse_ipv6(window: Window<'_>, len_bytes: usize) -> Result<Headers, Step> {
    let ip = Ipv6::parse(window, len_bytes, ethernet::LEN).map_err(pass)?;
    if is_followed(ip.next_header) || ip.next_header == icmp::PROTOCOL_V6 {
        return Err(Step::Go(Stage::Examine));
    }
    let mut headers = Headers::at(ethernet::LEN, ethernet::LEN + ipv6::LEN);
    let room = usize::from(ip.length_bytes) - ipv6::LEN;
    headers.control =
        parse_transport(window, ip.next_header, ethernet::LEN + ipv6::LEN, room, Fragment::Whole)
            .map_err(pass)?;
    let Some(ports) = ports(window, ethernet::LEN + ipv6::LEN) else {
        return Err(pass(PassReason::Malformed));
    };
    ip.describe(&mut headers, ip.next_header, ports);
    Ok(headers)
}

/// Extension headers that are followed.
#[inline(always)]
pub const fn is_followed(next_header: u8) -> bool {
    matches!(
        next_header,
        ipv6::NEXT_HOP_BY_HOP | ipv6::NEXT_ROUTING | ipv6::NEXT_FRAGMENT | ipv6::NEXT_DESTINATION_OPTIONS
    )
}

/// Ports of a packet, source and destination, as they lie in it.
pub type Ports = (u16, u16);

/// An IPv4 header.
pub struct Ipv4 {
    /// Length of the header.
    pub header_bytes: usize,
    /// Length of the packet.
    pub length_bytes: u16,
    /// Protocol.
    pub protocol: u8,
    /// Flags and fragment offset, as they lie in the packet.
    pub fragment_bits: u16,
    /// Identification, as it lies in the packet.
    pub identification: u16,
    ttl: u8,
    traffic_class: u8,
    source: u32,
    destination: u32,
}

impl Ipv4 {
    /// The header at `offset` of a frame of `len_bytes`.
    #[inline(always)]
    pub fn parse(window: Window<'_>, len_bytes: usize, offset: usize) -> Result<Self, PassReason> {
        let Some(ip) = window.chunk::<{ ipv4::LEN }>(offset) else {
            return Err(PassReason::Malformed);
        };
        let version_ihl = ip.byte::<{ ipv4::field::VERSION_IHL }>();
        let header_bytes = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header_bytes < ipv4::LEN {
            return Err(PassReason::Malformed);
        }
        let length_bytes = u16::from_be(ip.half::<{ ipv4::field::TOTAL_LENGTH }>());
        if offset + usize::from(length_bytes) > len_bytes || usize::from(length_bytes) < header_bytes {
            return Err(PassReason::Malformed);
        }
        Ok(Self {
            header_bytes,
            length_bytes,
            protocol: ip.byte::<{ ipv4::field::PROTOCOL }>(),
            fragment_bits: ip.half::<{ ipv4::field::FRAGMENT }>(),
            identification: ip.half::<{ ipv4::field::IDENTIFICATION }>(),
            ttl: ip.byte::<{ ipv4::field::TTL }>(),
            traffic_class: ip.byte::<{ ipv4::field::TYPE_OF_SERVICE }>(),
            source: ip.word::<{ ipv4::field::SOURCE }>(),
            destination: ip.word::<{ ipv4::field::DESTINATION }>(),
        })
    }

    /// Writes down what the header and the ports say.
    #[inline(always)]
    pub fn describe(&self, headers: &mut Headers, (source_port, destination_port): Ports) {
        headers.flow = Flow {
            source: mapped(self.source),
            destination: mapped(self.destination),
            source_port,
            destination_port,
            protocol: self.protocol,
        };
        headers.v4 = true;
        headers.length_bytes = self.length_bytes;
        headers.ttl = self.ttl;
        headers.traffic_class = self.traffic_class;
        headers.dont_fragment = self.fragment_bits & ipv4::DONT_FRAGMENT != 0;
        headers.identification = u32::from(self.identification);
    }
}

/// An IPv6 header.
pub struct Ipv6 {
    /// Length of the packet, header included.
    pub length_bytes: u16,
    /// Next header.
    pub next_header: u8,
    hop_limit: u8,
    traffic_class: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

impl Ipv6 {
    /// The header at `offset` of a frame of `len_bytes`.
    #[inline(always)]
    pub fn parse(window: Window<'_>, len_bytes: usize, offset: usize) -> Result<Self, PassReason> {
        let Some(ip) = window.chunk::<{ ipv6::LEN }>(offset) else {
            return Err(PassReason::Malformed);
        };
        let version_class = u16::from_be(ip.half::<{ ipv6::field::VERSION }>());
        let payload = u16::from_be(ip.half::<{ ipv6::field::PAYLOAD_LENGTH }>());
        let Some(length_bytes) = payload.checked_add(u16::from(ipv6::LEN_BYTES)) else {
            return Err(PassReason::Malformed);
        };
        if version_class >> 12 != 6 || offset + usize::from(length_bytes) > len_bytes {
            return Err(PassReason::Malformed);
        }
        let (source, destination) = (ipv6::source(ip), ipv6::destination(ip));
        if is_mapped(source) || is_mapped(destination) {
            // Such addresses are for hosts' inside and never on the wire (RFC 4038 section 4.2); in our tables they are
            // IPv4.
            return Err(PassReason::Malformed);
        }
        Ok(Self {
            length_bytes,
            next_header: ip.byte::<{ ipv6::field::NEXT_HEADER }>(),
            hop_limit: ip.byte::<{ ipv6::field::HOP_LIMIT }>(),
            traffic_class: ((version_class >> 4) & 0xff) as u8,
            source,
            destination,
        })
    }

    /// Writes down what the header and the ports say; `protocol` is what the extension headers lead to.
    #[inline(always)]
    pub fn describe(&self, headers: &mut Headers, protocol: u8, (source_port, destination_port): Ports) {
        headers.flow = Flow {
            source: self.source,
            destination: self.destination,
            source_port,
            destination_port,
            protocol,
        };
        headers.v4 = false;
        headers.length_bytes = self.length_bytes;
        headers.ttl = self.hop_limit;
        headers.traffic_class = self.traffic_class;
        headers.dont_fragment = true;
    }
}

/// Source and destination port: the first two fields of TCP and of UDP.
#[inline(always)]
pub fn ports(window: Window<'_>, offset: usize) -> Option<Ports> {
    let header = window.chunk::<4>(offset)?;
    Some((header.half::<{ tcp::field::SOURCE_PORT }>(), header.half::<{ tcp::field::DESTINATION_PORT }>()))
}

/// Checks the transport header at `offset`, of which the IP packet has `room` bytes; gives TCP's control bits.
#[inline(always)]
pub fn parse_transport(
    window: Window<'_>,
    protocol: u8,
    offset: usize,
    room: usize,
    fragment: Fragment,
) -> Result<u8, PassReason> {
    match protocol {
        tcp::PROTOCOL => {
            let Some(header) = window.chunk::<{ tcp::LEN }>(offset) else {
                return Err(PassReason::Malformed);
            };
            let header_bytes = usize::from(header.byte::<{ tcp::field::DATA_OFFSET }>() >> 4) * 4;
            if header_bytes < tcp::LEN || header_bytes > room {
                return Err(PassReason::Malformed);
            }
            Ok(header.byte::<{ tcp::field::FLAGS }>())
        }
        udp::PROTOCOL => {
            let Some(header) = window.chunk::<{ udp::LEN }>(offset) else {
                return Err(PassReason::Malformed);
            };
            let length = usize::from(u16::from_be(header.half::<{ udp::field::LENGTH }>()));
            // A first fragment has less than its datagram.
            if length < udp::LEN
                || room < udp::LEN
                || (length > room && fragment as u8 == Fragment::Whole as u8)
            {
                return Err(PassReason::Malformed);
            }
            Ok(0)
        }
        _ => Err(PassReason::OtherProtocol),
    }
}
