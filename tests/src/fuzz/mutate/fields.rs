//! Mutations of header fields.

use super::Tools;
use crate::fuzz::anatomy::{Anatomy, FRAGMENT, ICMP, ICMPV6, TCP, TYPE_IPV4, TYPE_IPV6, UDP};
use crate::fuzz::bytes::{byte, half, put, put_half};
use crate::fuzz::values::turning_point;

/// Protocol numbers that parsers know: extension headers, transports, tunnels, ICMP, "no next header" and nothing.
const PROTOCOLS: [u8; 16] = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 255];

/// `EtherType`s that parsers know, LLC lengths among them.
const ETHER_TYPES: [u16; 9] = [TYPE_IPV4, TYPE_IPV6, 0x0806, 0x8100, 0x88a8, 0x9100, 0x8863, 0x8847, 0x0040];

/// Ports: of a client, of a service, or any.
pub fn ports(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let at = anatomy.transport;
    match tools.rng.u8(..3) {
        0 => put_half(frame, at, tools.values.port(tools.rng)),
        1 => put_half(frame, at + 2, tools.values.frontend_port(tools.rng)),
        _ => put_half(frame, at + 2, tools.values.port(tools.rng)),
    }
}

/// One address becomes another of the world, or both change places.
pub fn addresses(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let (source, destination) = anatomy.addresses();
    match tools.rng.u8(..5) {
        0 | 1 => put(frame, source, &tools.values.address(tools.rng, anatomy.v4)),
        2 | 3 => put(frame, destination, &tools.values.address(tools.rng, anatomy.v4)),
        _ => swap(frame),
    }
}

/// Source and destination change places in every header.
pub fn swap(frame: &mut [u8]) {
    let mut exchange = |at: usize, size: usize| {
        if let Some(both) = frame.get_mut(at..at + 2 * size) {
            both.rotate_left(size);
        }
    };
    exchange(0, 6);
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let (source, destination) = anatomy.addresses();
    let size = destination - source;
    let mut exchange = |at: usize, size: usize| {
        if let Some(both) = frame.get_mut(at..at + 2 * size) {
            both.rotate_left(size);
        }
    };
    exchange(source, size);
    if matches!(anatomy.protocol, TCP | UDP) && anatomy.has_transport() {
        exchange(anatomy.transport, 2);
    }
}

/// TTL or hop limit, around its end for the most part.
pub fn ttl(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let ttl = if tools.rng.bool() { tools.rng.u8(..4) } else { tools.rng.u8(..) };
    put(frame, anatomy.ttl(), &[ttl]);
}

/// TCP's control bits, or the type of an ICMP message.
pub fn control(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    match anatomy.protocol {
        TCP => {
            // FIN, SYN, RST, SYN-ACK, ACK, FIN-ACK, SYN-FIN, none.
            let usual = tools.rng.choice([0x01, 0x02, 0x04, 0x12, 0x10, 0x11, 0x03, 0]).unwrap_or_default();
            let bits = if tools.rng.u8(..4) == 0 { tools.rng.u8(..) } else { usual };
            put(frame, anatomy.transport + 13, &[bits]);
        }
        ICMP | ICMPV6 => {
            let kinds = [0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 128, 129, 133, 135];
            put(frame, anatomy.transport, &[tools.rng.choice(kinds).unwrap_or_default(), tools.rng.u8(..6)]);
        }
        _ => {}
    }
}

/// DSCP and ECN, and in IPv6 the flow label.
pub fn traffic_class(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    if anatomy.v4 {
        put(frame, anatomy.network + 1, &[tools.rng.u8(..)]);
    } else {
        let high = 0x60 | tools.rng.u8(..16);
        put(frame, anatomy.network, &[high, tools.rng.u8(..), tools.rng.u8(..), tools.rng.u8(..)]);
    }
}

/// Don't Fragment, with an identification where it is not set.
pub fn dont_fragment(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame).filter(|it| it.v4) else { return };
    let flags = half(frame, anatomy.network + 6).unwrap_or_default() ^ 0x4000;
    put_half(frame, anatomy.network + 6, flags);
    if flags & 0x4000 == 0 {
        put_half(frame, anatomy.network + 4, tools.rng.u16(..));
    }
}

/// Fragment bits of IPv4, the fragment header's of IPv6.
pub fn fragment(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let offset = if tools.rng.bool() { tools.rng.u16(..4) } else { tools.rng.u16(..0x2000) };
    if anatomy.v4 {
        // Reserved, Don't Fragment, More Fragments.
        let flags = tools.rng.u16(..8) << 13;
        put_half(frame, anatomy.network + 6, flags | offset);
        put_half(frame, anatomy.network + 4, tools.rng.u16(..8));
    } else if let Some(at) = anatomy.fragment_header {
        put_half(frame, at + 2, offset << 3 | tools.rng.u16(..2));
        put_half(frame, at + 6, tools.rng.u16(..8));
    }
}

/// Any field, with a value that its neighbours may contradict.
pub fn any(frame: &mut [u8], tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else {
        put_half(frame, 12, tools.rng.choice(ETHER_TYPES).unwrap_or_default());
        return;
    };
    match tools.rng.u8(..12) {
        0 => version(frame, &anatomy, tools),
        1 | 2 => total_length(frame, &anatomy, tools),
        3 => protocol(frame, &anatomy, tools),
        4 => fragment(frame, tools),
        5 => ttl(frame, tools),
        6 => addresses(frame, tools),
        7 => ports(frame, tools),
        8 | 9 => transport_length(frame, &anatomy, tools),
        10 => checksums(frame, &anatomy, tools),
        _ => {
            let at = 12 + 4 * anatomy.tags;
            put_half(frame, at, tools.rng.choice(ETHER_TYPES).unwrap_or_default());
        }
    }
}

/// Version and IHL.
fn version(frame: &mut [u8], anatomy: &Anatomy, tools: &mut Tools<'_>) {
    let version = if tools.rng.bool() { 4 + 2 * u8::from(!anatomy.v4) } else { tools.rng.u8(..16) };
    let low = if tools.rng.bool() { 5 } else { tools.rng.u8(..16) };
    put(frame, anatomy.network, &[version << 4 | low]);
}

/// IPv4's total length or IPv6's payload length: near the truth, or anything.
fn total_length(frame: &mut [u8], anatomy: &Anatomy, tools: &mut Tools<'_>) {
    let at = anatomy.network + if anatomy.v4 { 2 } else { 4 };
    let truth = half(frame, at).unwrap_or_default();
    let value = match tools.rng.u8(..3) {
        0 => turning_point(tools.rng),
        1 => truth.wrapping_add(tools.rng.u16(..8)),
        _ => truth.wrapping_sub(tools.rng.u16(..32)),
    };
    put_half(frame, at, value);
}

/// The protocol or next header, the last one of a chain or the first.
fn protocol(frame: &mut [u8], anatomy: &Anatomy, tools: &mut Tools<'_>) {
    let number = tools.rng.choice(PROTOCOLS).unwrap_or_default();
    let first = anatomy.network + if anatomy.v4 { 9 } else { 6 };
    let at = if !anatomy.v4 && tools.rng.bool() { anatomy.network + 40 } else { first };
    put(frame, at, &[number]);
    if !anatomy.v4 && number == FRAGMENT {
        fragment(frame, tools);
    }
}

/// TCP's data offset, or the UDP length.
fn transport_length(frame: &mut [u8], anatomy: &Anatomy, tools: &mut Tools<'_>) {
    if anatomy.protocol == UDP {
        let truth = half(frame, anatomy.transport + 4).unwrap_or_default();
        let value = match tools.rng.u8(..4) {
            0 => 0,
            1 => turning_point(tools.rng),
            2 => truth.wrapping_add(tools.rng.u16(..8)),
            _ => truth.wrapping_sub(tools.rng.u16(..8)),
        };
        put_half(frame, anatomy.transport + 4, value);
    } else {
        let at = anatomy.transport + 12;
        let low = byte(frame, at).unwrap_or_default() & 0x0f;
        put(frame, at, &[tools.rng.u8(..16) << 4 | low]);
    }
}

/// Checksums: none, all ones, or wrong.
fn checksums(frame: &mut [u8], anatomy: &Anatomy, tools: &mut Tools<'_>) {
    let value = match tools.rng.u8(..3) {
        0 => 0,
        1 => 0xffff,
        _ => tools.rng.u16(..),
    };
    let field = match anatomy.protocol {
        TCP => anatomy.transport + 16,
        UDP => anatomy.transport + 6,
        _ => anatomy.transport + 2,
    };
    let at = if anatomy.v4 && tools.rng.bool() { anatomy.network + 10 } else { field };
    put_half(frame, at, value);
}
