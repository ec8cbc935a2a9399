//! IP in IP: an outer header in front of the client's packet, which stays as it is (RFC 2003, RFC 2473).

use super::Headers;
use crate::abi::{Backend, DropReason};
use crate::wire::{Chunk, Packet, checksum, ethernet, ipv4, ipv6};

/// TTL and hop limit of outer headers (the number that RFC 1700 recommends).
const OUTER_TTL: u8 = 64;

/// Bytes that the outer header adds.
#[inline(always)]
pub const fn growth(v4: bool) -> u8 {
    if v4 { ipv4::LEN_BYTES } else { ipv6::LEN_BYTES }
}

/// What [`Backend::outer_sum`] has to be: the folded sum of the outer IPv4 header without its length.
///
/// `traffic_class` is 0: it is added per packet.
pub const fn outer_sum(source: u32, destination: u32) -> u16 {
    let version_ihl = u16::from_be(0x4500) as u64;
    let ttl_protocol = u16::from_be(((OUTER_TTL as u16) << 8) | ipv4::PROTOCOL_IPV4 as u16) as u64;
    let addresses = source as u64 + destination as u64;
    checksum::fold(version_ihl + ipv4::DONT_FRAGMENT as u64 + ttl_protocol + addresses)
}

/// Puts the outer header in front. The Ethernet header moves with its type; its addresses are left to `send`.
///
/// # Errors
/// [`DropReason::NoHeadroom`], with the packet untouched.
#[inline(always)]
pub fn encapsulate<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    backend: &Backend,
    outer_length: u16,
) -> Result<(), DropReason> {
    if !packet.grow_head(growth(headers.v4)) {
        return Err(DropReason::NoHeadroom);
    }
    let window = packet.window();
    let Some(frame) = window.chunk::<{ ethernet::LEN }>(0) else {
        return Err(DropReason::Inconsistent);
    };
    if headers.v4 {
        frame.set_half::<{ ethernet::field::ETHER_TYPE }>(ethernet::TYPE_IPV4);
        let Some(ip) = window.chunk::<{ ipv4::LEN }>(ethernet::LEN) else {
            return Err(DropReason::Inconsistent);
        };
        write_ipv4(ip, headers.traffic_class, backend, outer_length);
    } else {
        frame.set_half::<{ ethernet::field::ETHER_TYPE }>(ethernet::TYPE_IPV6);
        let Some(ip) = window.chunk::<{ ipv6::LEN }>(ethernet::LEN) else {
            return Err(DropReason::Inconsistent);
        };
        write_ipv6(ip, headers.traffic_class, backend, headers.length_bytes);
    }
    Ok(())
}

#[inline(always)]
fn write_ipv4(ip: Chunk<'_, { ipv4::LEN }>, traffic_class: u8, backend: &Backend, outer_length: u16) {
    let [_, _, _, source] = backend.tunnel_source;
    let [_, _, _, destination] = backend.address;
    let version_class = (0x4500 | u16::from(traffic_class)).to_be();
    let sum = u64::from(backend.outer_sum)
        + u64::from(u16::from(traffic_class).to_be())
        + u64::from(outer_length.to_be());
    ip.set_half::<{ ipv4::field::VERSION_IHL }>(version_class);
    ip.set_half::<{ ipv4::field::TOTAL_LENGTH }>(outer_length.to_be());
    // RFC 6864: a datagram that must not be fragmented needs no identification.
    ip.set_half::<{ ipv4::field::IDENTIFICATION }>(0);
    ip.set_half::<{ ipv4::field::FRAGMENT }>(ipv4::DONT_FRAGMENT);
    ip.set_byte::<{ ipv4::field::TTL }>(OUTER_TTL);
    ip.set_byte::<{ ipv4::field::PROTOCOL }>(ipv4::PROTOCOL_IPV4);
    ip.set_half::<{ ipv4::field::CHECKSUM }>(!checksum::fold(sum));
    ip.set_word::<{ ipv4::field::SOURCE }>(source);
    ip.set_word::<{ ipv4::field::DESTINATION }>(destination);
}

#[inline(always)]
fn write_ipv6(ip: Chunk<'_, { ipv6::LEN }>, traffic_class: u8, backend: &Backend, inner_length: u16) {
    ip.set_word::<{ ipv6::field::VERSION }>((0x6000_0000 | (u32::from(traffic_class) << 20)).to_be());
    ip.set_half::<{ ipv6::field::PAYLOAD_LENGTH }>(inner_length.to_be());
    ip.set_byte::<{ ipv6::field::NEXT_HEADER }>(ipv4::PROTOCOL_IPV6);
    ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(OUTER_TTL);
    ipv6::set_source(ip, backend.tunnel_source);
    ipv6::set_destination(ip, backend.address);
}
