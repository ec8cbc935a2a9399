//! Tunnels: an outer header in front of the client's packet, which stays as it is: IP in IP (RFC 2003, RFC 2473,
//! RFC 4213) and GUE (draft-ietf-intarea-gue, variant 1: the inner packet follows the UDP header).

use super::Headers;
use super::headers::Fragment;
use crate::abi::{Address, Backend};
use crate::wire::{Chunk, Window, checksum, ipv4, ipv6, tcp, udp};

/// TTL and hop limit of outer headers (the number that RFC 1700 recommends).
const OUTER_TTL: u8 = 64;
/// Source ports of GUE: the dynamic ones (RFC 6335), of which the flow's hash chooses.
const FIRST_SOURCE_PORT: u16 = 0xc000;

/// An outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Whether it is IPv4.
    pub v4: bool,
    /// Whether a UDP header follows it.
    pub gue: bool,
}

impl Outer {
    /// Bytes that it adds.
    #[inline(always)]
    pub const fn length_bytes(self) -> u8 {
        let ip = if self.v4 { ipv4::LEN_BYTES } else { ipv6::LEN_BYTES };
        if self.gue { ip + udp::LEN_BYTES } else { ip }
    }

    /// What it says is behind it, for an inner packet that is IPv4 or not.
    #[inline(always)]
    pub const fn protocol(self, inner_v4: bool) -> u8 {
        match (self.gue, inner_v4) {
            (true, _) => udp::PROTOCOL,
            (false, true) => ipv4::PROTOCOL_IPV4,
            (false, false) => ipv4::PROTOCOL_IPV6,
        }
    }
}

/// Folded sum of an outer IPv4 header without its length: what [`Backend::outer_sum`] has to be for IPv4 in IPv4.
///
/// The type of service is 0 in it: that is added per packet.
#[inline(always)]
pub const fn outer_sum(source: u32, destination: u32, protocol: u8) -> u16 {
    let version_ihl = u16::from_be(0x4500) as u64;
    let ttl_protocol = u16::from_be(((OUTER_TTL as u16) << 8) | protocol as u16) as u64;
    let addresses = source as u64 + destination as u64;
    checksum::fold(version_ihl + ipv4::DONT_FRAGMENT as u64 + ttl_protocol + addresses)
}

/// The same for IPv4 in IPv4.
pub const fn ipip_sum(source: u32, destination: u32) -> u16 {
    outer_sum(source, destination, ipv4::PROTOCOL_IPV4)
}

/// Bits of a flow's hash that headers may carry; others than those that choose the slot.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "32 bits out of the middle")]
pub const fn entropy(hash: u64) -> u32 {
    (hash >> 11) as u32
}

/// Where a backend's tunnel for a flow begins.
#[inline(always)]
pub const fn source(backend: &Backend, hash: u64) -> Address {
    let [a, b, c, d] = backend.tunnel_source;
    [a, b, c, d | (entropy(hash) & backend.tunnel_vary)]
}

/// Writes the outer header of `headers`' packet at `at`. `ipip_sum` is the backend's if it may be relied on.
///
/// None if that is beyond the packet, which has just been made longer.
#[inline(always)]
pub fn write(
    window: Window<'_>,
    at: usize,
    outer: Outer,
    headers: &Headers,
    backend: &Backend,
    hash: u64,
) -> Option<()> {
    let entropy = entropy(hash);
    let length = headers.length_bytes.wrapping_add(u16::from(outer.length_bytes()));
    let protocol = outer.protocol(headers.v4);
    if outer.v4 {
        let [_, _, _, source] = backend.tunnel_source;
        let [_, _, _, destination] = backend.address;
        let sum = if outer.gue || !headers.v4 {
            outer_sum(source, destination, protocol)
        } else {
            backend.outer_sum
        };
        let varied = entropy & backend.tunnel_vary;
        let ip = window.chunk::<{ ipv4::LEN }>(at)?;
        write_ipv4(ip, &Ipv4 { sum, source, varied, destination, length, protocol }, headers.traffic_class);
    } else {
        let source = source(backend, hash);
        let ip = window.chunk::<{ ipv6::LEN }>(at)?;
        let class_and_label = (u32::from(headers.traffic_class) << 20) | (entropy & ipv6::FLOW_LABEL);
        ip.set_word::<{ ipv6::field::VERSION }>((0x6000_0000 | class_and_label).to_be());
        ip.set_half::<{ ipv6::field::PAYLOAD_LENGTH }>(
            length.wrapping_sub(u16::from(ipv6::LEN_BYTES)).to_be(),
        );
        ip.set_byte::<{ ipv6::field::NEXT_HEADER }>(protocol);
        ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(OUTER_TTL);
        ipv6::set_source(ip, source);
        ipv6::set_destination(ip, backend.address);
    }
    Some(())
}

/// What varies in an outer IPv4 header.
struct Ipv4 {
    sum: u16,
    source: u32,
    varied: u32,
    destination: u32,
    length: u16,
    protocol: u8,
}

#[inline(always)]
fn write_ipv4(ip: Chunk<'_, { ipv4::LEN }>, outer: &Ipv4, traffic_class: u8) {
    let version_class = (0x4500 | u16::from(traffic_class)).to_be();
    let sum = u64::from(outer.sum)
        + u64::from(u16::from(traffic_class).to_be())
        + u64::from(outer.length.to_be())
        + u64::from(outer.varied);
    ip.set_half::<{ ipv4::field::VERSION_IHL }>(version_class);
    ip.set_half::<{ ipv4::field::TOTAL_LENGTH }>(outer.length.to_be());
    // RFC 6864: a datagram that must not be fragmented needs no identification.
    ip.set_half::<{ ipv4::field::IDENTIFICATION }>(0);
    ip.set_half::<{ ipv4::field::FRAGMENT }>(ipv4::DONT_FRAGMENT);
    ip.set_byte::<{ ipv4::field::TTL }>(OUTER_TTL);
    ip.set_byte::<{ ipv4::field::PROTOCOL }>(outer.protocol);
    ip.set_half::<{ ipv4::field::CHECKSUM }>(!checksum::fold(sum));
    // The bits that vary are 0 in the source, so both together are a sum, too.
    ip.set_word::<{ ipv4::field::SOURCE }>(outer.source | outer.varied);
    ip.set_word::<{ ipv4::field::DESTINATION }>(outer.destination);
}

/// Writes the UDP header of GUE behind the outer IP header at `at`; `inner` is where the client's packet begins.
///
/// Over IPv4 it has no checksum. Over IPv6 it has one where the inner packet's own checksums tell what the rest of the sum
/// is; else none, which RFC 6935 allows for tunnels.
#[inline(always)]
pub fn write_gue(
    window: Window<'_>,
    at: usize,
    outer: Outer,
    headers: &Headers,
    backend: &Backend,
    hash: u64,
) -> Option<()> {
    let offset = at + if outer.v4 { ipv4::LEN } else { ipv6::LEN };
    let length = headers.length_bytes.wrapping_add(u16::from(udp::LEN_BYTES)).to_be();
    #[expect(clippy::cast_possible_truncation, reason = "fourteen bits of the hash")]
    let source_port = (FIRST_SOURCE_PORT | (entropy(hash) as u16 & !FIRST_SOURCE_PORT)).to_be();
    let header = window.chunk::<{ udp::LEN }>(offset)?;
    header.set_half::<{ udp::field::SOURCE_PORT }>(source_port);
    header.set_half::<{ udp::field::DESTINATION_PORT }>(backend.port);
    header.set_half::<{ udp::field::LENGTH }>(length);
    header.set_half::<{ udp::field::CHECKSUM }>(0);
    if outer.v4 {
        return Some(());
    }
    if let Some(inner) = inner_sum(window, offset + udp::LEN, headers) {
        let ip = window.chunk::<{ ipv6::LEN }>(at)?;
        let addresses = words(ipv6::source(ip)) + words(ipv6::destination(ip));
        let pseudo = addresses + u64::from(length) + u64::from(u16::from(udp::PROTOCOL).to_be());
        let ports = u64::from(source_port) + u64::from(backend.port) + u64::from(length);
        let sum = match !checksum::fold(u64::from(checksum::fold(pseudo + ports)) + u64::from(inner)) {
            0 => 0xffff,
            sum => sum,
        };
        header.set_half::<{ udp::field::CHECKSUM }>(sum);
    }
    Some(())
}

/// The sum of the inner packet at `at`, from its headers alone: a checksum that is right says what the sum of all that it
/// covers is. None where there is no such checksum.
#[inline(always)]
fn inner_sum(window: Window<'_>, at: usize, headers: &Headers) -> Option<u16> {
    let header_bytes = headers.ip_header_bytes();
    if headers.fragment != Fragment::Whole {
        return None;
    }
    let transport_bytes = usize::from(headers.length_bytes).checked_sub(header_bytes)?;
    match headers.flow.protocol {
        tcp::PROTOCOL => {}
        udp::PROTOCOL => {
            let udp = window.chunk::<{ udp::LEN }>(at + header_bytes)?;
            let length = u16::from_be(udp.half::<{ udp::field::LENGTH }>());
            // Without a checksum, or with bytes behind the datagram, the sum is anything.
            if udp.half::<{ udp::field::CHECKSUM }>() == 0 || usize::from(length) != transport_bytes {
                return None;
            }
        }
        _ => return None,
    }
    let flow = &headers.flow;
    #[expect(clippy::cast_possible_truncation, reason = "less than the length of the packet")]
    let transport_length = (transport_bytes as u16).to_be();
    let length_protocol = u64::from(transport_length) + u64::from(u16::from(flow.protocol).to_be());
    if headers.v4 {
        // A header with a right checksum sums up to zero; what is left is the pseudo-header, taken away.
        let ([_, _, _, source], [_, _, _, destination]) = (flow.source, flow.destination);
        return Some(!checksum::fold(u64::from(source) + u64::from(destination) + length_protocol));
    }
    if header_bytes != ipv6::LEN {
        return None;
    }
    // The addresses are in the header and, taken away, in the pseudo-header.
    let ip = window.chunk::<{ ipv6::LEN }>(at)?;
    let start = u64::from(ip.word::<{ ipv6::field::VERSION }>()) + u64::from(ip.word::<4>());
    Some(checksum::fold(start + u64::from(!checksum::fold(length_protocol))))
}

#[inline(always)]
const fn words([a, b, c, d]: [u32; 4]) -> u64 {
    a as u64 + b as u64 + c as u64 + d as u64
}
