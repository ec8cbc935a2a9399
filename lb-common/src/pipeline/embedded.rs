//! The packet that an ICMP error embeds: whose it was, and other addresses for it (RFC 5508 section 4.2).
//!
//! Always holds: eight bytes of its transport header are enough, and what is not there is not touched; all sums stay right
//! that were right before.

use super::headers::{Fragment, Headers};
use super::parse_any::Walk;
use crate::abi::{Address, is_mapped, mapped};
use crate::hash::Flow;
use crate::wire::{Window, checksum::Change, icmp, ipv4, ipv6, tcp, udp};

/// Bytes of an embedded transport header that every error has (RFC 792).
const LEAST: usize = 8;
/// Bytes of an embedded TCP header up to behind its checksum.
const TO_TCP_CHECKSUM: usize = tcp::field::CHECKSUM + 2;

/// An embedded packet.
pub struct Embedded {
    /// Its 5-tuple.
    pub flow: Flow,
    /// Where its IP header begins, from the start of the IP packet around it.
    ip: usize,
    /// Where its transport header begins, likewise.
    transport: usize,
}

/// What an error and its embedded packet are to be called.
pub struct Renamed {
    /// Source of the error.
    pub outer_source: Address,
    /// Destination of the error.
    pub outer_destination: Address,
    /// The embedded packet's 5-tuple.
    pub inner: Flow,
}

/// Bounds of offsets within an ICMP packet.
const OFFSET_MASK: usize = 0x7ff;

/// The TCP or UDP packet that the error described by `headers` embeds.
#[inline(always)]
pub fn parse(window: Window<'_>, headers: &Headers) -> Option<Embedded> {
    let at = headers.offsets();
    let ip = at.transport + icmp::LEN;
    let (flow, transport) = parse_flow(window, ip, headers.v4, at.ip + usize::from(headers.length_bytes))?;
    Some(Embedded { flow, ip: ip - at.ip, transport: transport - at.ip })
}

/// The flow of the TCP or UDP packet at `at` in a packet that ends at `end`, and where its transport header begins.
#[inline(always)]
fn parse_flow(window: Window<'_>, at: usize, v4: bool, end: usize) -> Option<(Flow, usize)> {
    let (mut flow, transport) = if v4 { parse_ipv4(window, at)? } else { parse_ipv6(window, at)? };
    if transport + LEAST > end || !matches!(flow.protocol, tcp::PROTOCOL | udp::PROTOCOL) {
        return None;
    }
    let ports = window.chunk_at::<LEAST>(transport)?;
    flow.source_port = ports.half::<{ tcp::field::SOURCE_PORT }>();
    flow.destination_port = ports.half::<{ tcp::field::DESTINATION_PORT }>();
    Some((flow, transport))
}

#[inline(always)]
fn parse_ipv4(window: Window<'_>, at: usize) -> Option<(Flow, usize)> {
    let ip = window.chunk_at::<{ ipv4::LEN }>(at)?;
    let version_ihl = ip.byte::<{ ipv4::field::VERSION_IHL }>();
    let header_bytes = usize::from(version_ihl & 0x0f) * 4;
    let is_later = ip.half::<{ ipv4::field::FRAGMENT }>() & ipv4::FRAGMENT_OFFSET != 0;
    if version_ihl >> 4 != 4 || header_bytes < ipv4::LEN || is_later {
        return None;
    }
    let flow = Flow {
        source: mapped(ip.word::<{ ipv4::field::SOURCE }>()),
        destination: mapped(ip.word::<{ ipv4::field::DESTINATION }>()),
        source_port: 0,
        destination_port: 0,
        protocol: ip.byte::<{ ipv4::field::PROTOCOL }>(),
    };
    Some((flow, at + header_bytes))
}

#[inline(always)]
fn parse_ipv6(window: Window<'_>, at: usize) -> Option<(Flow, usize)> {
    let ip = window.chunk_at::<{ ipv6::LEN }>(at)?;
    let (source, destination) = (ipv6::source(ip), ipv6::destination(ip));
    if ip.byte::<{ ipv6::field::VERSION }>() >> 4 != 6 || is_mapped(source) || is_mapped(destination) {
        return None;
    }
    let walk = Walk::over(window, ip.byte::<{ ipv6::field::NEXT_HEADER }>(), at + ipv6::LEN).ok()?;
    if walk.fragment as u8 == Fragment::Later as u8 {
        return None;
    }
    let flow = Flow { source, destination, source_port: 0, destination_port: 0, protocol: walk.protocol };
    Some((flow, walk.at))
}

/// A client's packet in the tunnel that an error is about.
pub struct Tunnelled {
    /// Where the tunnel starts.
    pub start: Address,
    /// The tunnel's end.
    pub end: Address,
    /// What the outer header says is in it.
    pub protocol: u8,
    /// Destination port of GUE, as it lies in the packet; 0 of IP in IP.
    pub port: u16,
    /// Bytes that the tunnel added.
    pub overhead_bytes: u16,
    /// Where the client's packet begins, from the start of the frame.
    pub at: usize,
    /// Its headers, as if it had come in the frame that the error came in.
    pub headers: Headers,
}

/// The client's packet, if the error embeds a packet of a tunnel: IP in IP, or GUE of variant 1.
#[inline(always)]
pub fn tunnelled(window: Window<'_>, headers: &Headers) -> Option<Tunnelled> {
    let at = headers.offsets();
    let ip = at.transport + icmp::LEN;
    let (outer, behind) = if headers.v4 { parse_ipv4(window, ip)? } else { parse_ipv6(window, ip)? };
    let (inner, port) = if outer.protocol == udp::PROTOCOL {
        let header = window.chunk_at::<{ udp::LEN }>(behind)?;
        (behind + udp::LEN, header.half::<{ udp::field::DESTINATION_PORT }>())
    } else {
        (behind, 0)
    };
    let version = window.chunk_at::<1>(inner)?.byte::<0>() >> 4;
    let v4 = version == 4;
    let says = match outer.protocol {
        ipv4::PROTOCOL_IPV4 => v4,
        ipv4::PROTOCOL_IPV6 => version == 6,
        udp::PROTOCOL => true,
        _ => false,
    };
    if !says {
        return None;
    }
    let (flow, transport) = parse_flow(window, inner, v4, at.ip + usize::from(headers.length_bytes))?;
    let mut client = Headers::at(at.ip, at.ip + transport.wrapping_sub(inner));
    client.length_bytes = if v4 {
        u16::from_be(window.chunk_at::<{ ipv4::LEN }>(inner)?.half::<{ ipv4::field::TOTAL_LENGTH }>())
    } else {
        let payload = window.chunk_at::<{ ipv6::LEN }>(inner)?.half::<{ ipv6::field::PAYLOAD_LENGTH }>();
        u16::from_be(payload).saturating_add(u16::from(ipv6::LEN_BYTES))
    };
    client.v4 = v4;
    client.flow = flow;
    #[expect(clippy::cast_possible_truncation, reason = "less than 1,100 bytes of headers")]
    let overhead_bytes = inner.wrapping_sub(ip) as u16;
    Some(Tunnelled {
        start: outer.source,
        end: outer.destination,
        protocol: outer.protocol,
        port,
        overhead_bytes,
        at: inner,
        headers: client,
    })
}

/// Gives an error whose IP header is at `at` and what it embeds other names; takes one from the TTL if the node `routes` it.
#[inline(always)]
pub fn rename(
    window: Window<'_>,
    headers: &Headers,
    at: usize,
    embedded: &Embedded,
    to: &Renamed,
    routes: bool,
) -> Option<()> {
    let inner = at + (embedded.ip & OFFSET_MASK);
    let transport = at + (embedded.transport & OFFSET_MASK);
    let icmp_at = headers.offsets_from(at).transport;
    let old = &embedded.flow;
    let addresses = address_change(headers.v4, old.source, to.inner.source).and(address_change(
        headers.v4,
        old.destination,
        to.inner.destination,
    ));
    let ports = Change::NONE
        .half(old.source_port, to.inner.source_port)
        .half(old.destination_port, to.inner.destination_port);
    // Everything in the embedded packet that changes, its own checksums included.
    let mut change = addresses.and(ports);
    change = change.and(rename_inner_ip(window, headers.v4, inner, to, addresses)?);
    let end = at + usize::from(headers.length_bytes);
    change = change.and(rename_transport(window, transport, end, to, addresses.and(ports))?);
    change = change.and(rename_outer_ip(window, headers, at, to, routes)?);
    let header = window.chunk_at::<{ icmp::LEN }>(icmp_at)?;
    let sum = header.half::<{ icmp::field::CHECKSUM }>();
    header.set_half::<{ icmp::field::CHECKSUM }>(change.apply(sum));
    Some(())
}

#[inline(always)]
fn address_change(v4: bool, old: Address, new: Address) -> Change {
    if v4 {
        let ([_, _, _, old], [_, _, _, new]) = (old, new);
        Change::NONE.word(old, new)
    } else {
        Change::NONE.address(old, new)
    }
}

/// The embedded IP header. Returns what its checksum's change adds.
#[inline(always)]
fn rename_inner_ip(
    window: Window<'_>,
    v4: bool,
    at: usize,
    to: &Renamed,
    addresses: Change,
) -> Option<Change> {
    if !v4 {
        let ip = window.chunk_at::<{ ipv6::LEN }>(at)?;
        ipv6::set_source(ip, to.inner.source);
        ipv6::set_destination(ip, to.inner.destination);
        return Some(Change::NONE);
    }
    let ip = window.chunk_at::<{ ipv4::LEN }>(at)?;
    let old = ip.half::<{ ipv4::field::CHECKSUM }>();
    let new = addresses.apply(old);
    let ([_, _, _, source], [_, _, _, destination]) = (to.inner.source, to.inner.destination);
    ip.set_word::<{ ipv4::field::SOURCE }>(source);
    ip.set_word::<{ ipv4::field::DESTINATION }>(destination);
    ip.set_half::<{ ipv4::field::CHECKSUM }>(new);
    Some(Change::NONE.half(old, new))
}

/// The embedded ports, and the checksum if it is there. Returns what the checksum's change adds.
#[inline(always)]
fn rename_transport(
    window: Window<'_>,
    at: usize,
    end: usize,
    to: &Renamed,
    change: Change,
) -> Option<Change> {
    let header = window.chunk_at::<LEAST>(at)?;
    header.set_half::<{ tcp::field::SOURCE_PORT }>(to.inner.source_port);
    header.set_half::<{ tcp::field::DESTINATION_PORT }>(to.inner.destination_port);
    if to.inner.protocol == udp::PROTOCOL {
        let old = header.half::<{ udp::field::CHECKSUM }>();
        let new = change.apply_udp(old);
        header.set_half::<{ udp::field::CHECKSUM }>(new);
        return Some(Change::NONE.half(old, new));
    }
    if at + TO_TCP_CHECKSUM > end {
        return Some(Change::NONE);
    }
    let Some(header) = window.chunk_at::<TO_TCP_CHECKSUM>(at) else { return Some(Change::NONE) };
    let old = header.half::<{ tcp::field::CHECKSUM }>();
    let new = change.apply(old);
    header.set_half::<{ tcp::field::CHECKSUM }>(new);
    Some(Change::NONE.half(old, new))
}

/// The error's own IP header. Returns what its change adds to ICMPv6's checksum, whose pseudo-header has the addresses.
#[inline(always)]
fn rename_outer_ip(
    window: Window<'_>,
    headers: &Headers,
    at: usize,
    to: &Renamed,
    routes: bool,
) -> Option<Change> {
    let flow = &headers.flow;
    let change = address_change(headers.v4, flow.source, to.outer_source).and(address_change(
        headers.v4,
        flow.destination,
        to.outer_destination,
    ));
    if headers.v4 {
        let ip = window.chunk_at::<{ ipv4::LEN }>(at)?;
        let ([_, _, _, source], [_, _, _, destination]) = (to.outer_source, to.outer_destination);
        ip.set_word::<{ ipv4::field::SOURCE }>(source);
        ip.set_word::<{ ipv4::field::DESTINATION }>(destination);
        if routes {
            ipv4::route(ip, change);
        } else {
            let sum = ip.half::<{ ipv4::field::CHECKSUM }>();
            ip.set_half::<{ ipv4::field::CHECKSUM }>(change.apply(sum));
        }
        return Some(Change::NONE);
    }
    let ip = window.chunk_at::<{ ipv6::LEN }>(at)?;
    ipv6::set_source(ip, to.outer_source);
    ipv6::set_destination(ip, to.outer_destination);
    if routes {
        ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(headers.ttl.wrapping_sub(1));
    }
    Some(change)
}
