//! Mutations that put headers in between: VLAN tags, IPv4 options, IPv6 extension headers; and payloads of other sizes.
//!
//! Always holds: lengths in the headers around are adapted, so that a sound packet stays one.

use super::Tools;
use crate::fuzz::LONGEST_BYTES;
use crate::fuzz::anatomy::{Anatomy, FRAGMENT, IPV4, IPV6, OPTIONS, TAG, TYPES_OF_TAGS, UDP};
use crate::fuzz::bytes::{byte, half, insert, length, put, put_half};

/// Most tags that are put in at once: one more than a datapath has to know.
const TAGS_MOST: usize = 3;
/// Most extension headers that are put in at once.
const EXTENSIONS_MOST: usize = 6;

/// Adds `more` bytes to the IP length (and, from the UDP header on, to UDP's).
fn grow(frame: &mut [u8], anatomy: &Anatomy, more: usize) {
    let at = anatomy.network + if anatomy.v4 { 2 } else { 4 };
    let former = usize::from(half(frame, at).unwrap_or_default());
    put_half(frame, at, length(former + more));
}

/// VLAN tags in front of the IP header.
pub fn insert_tags(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    for _ in 0..tools.rng.usize(1..=TAGS_MOST) {
        let tag_type = tools.rng.choice(TYPES_OF_TAGS).unwrap_or_default().to_be_bytes();
        let id = if tools.rng.bool() { tools.rng.u16(..3) } else { tools.rng.u16(..) }.to_be_bytes();
        let mut tag = [0; TAG];
        put(&mut tag, 0, &tag_type);
        put(&mut tag, 2, &id);
        insert(frame, 12, &tag);
    }
}

/// Options behind an IPv4 header without any.
pub fn insert_ipv4_options(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame).filter(|it| it.v4) else { return };
    let first = byte(frame, anatomy.network).unwrap_or_default();
    if first & 0x0f != 5 {
        return;
    }
    let words = tools.rng.u8(1..=10);
    let fill = if tools.rng.bool() { 1 } else { tools.rng.u8(..) };
    let options = vec![fill; usize::from(words) * 4];
    put(frame, anatomy.network, &[first + words]);
    grow(frame, &anatomy, options.len());
    insert(frame, anatomy.network + IPV4, &options);
}

/// Extension headers behind an IPv6 header; sound ones, or with any length and number.
pub fn insert_extension(frame: &mut Vec<u8>, tools: &mut Tools<'_>, sound: bool) {
    for _ in 0..tools.rng.usize(1..=EXTENSIONS_MOST) {
        let Some(anatomy) = Anatomy::of(frame).filter(|it| !it.v4) else { return };
        let at = anatomy.network + 6;
        let next = byte(frame, at).unwrap_or_default();
        let (kind, extension) = extension(next, tools, sound);
        put(frame, at, &[kind]);
        grow(frame, &anatomy, extension.len());
        insert(frame, anatomy.network + IPV6, &extension);
        if tools.rng.bool() {
            return;
        }
    }
}

/// An extension header in front of `next`, and its number.
fn extension(next: u8, tools: &mut Tools<'_>, sound: bool) -> (u8, Vec<u8>) {
    if tools.rng.u8(..5) == 0 {
        // A fragment header: of a whole packet (RFC 8200 section 4.5, "atomic"), unless it may be anything.
        let offset_more = if sound { 0 } else { tools.rng.u16(..) }.to_be_bytes();
        let id = tools.rng.u8(..8);
        return (FRAGMENT, vec![next, 0, offset_more[0], offset_more[1], 0, 0, 0, id]);
    }
    let kind = tools.rng.choice(OPTIONS).unwrap_or_default();
    let units = tools.rng.u8(..4);
    let size = (usize::from(units) + 1) * 8;
    let mut header = vec![0; size];
    // One PadN option (RFC 8200 section 4.2); in a routing header, no segments left.
    let padding = u8::try_from(size - 4).unwrap_or_default();
    let body: [u8; 2] = if kind == 43 { [4, 0] } else { [1, padding] };
    put(&mut header, 0, &[next, units, body[0], body[1]]);
    if !sound {
        match tools.rng.u8(..3) {
            0 => put(&mut header, 1, &[tools.rng.u8(..)]),
            1 => put(&mut header, 2, &[tools.rng.u8(..), tools.rng.u8(..)]),
            _ => put(&mut header, 0, &[tools.rng.u8(..)]),
        }
    }
    (kind, header)
}

/// Another length of payload, with all lengths adapted; around the MTUs of the world for the most part.
pub fn resize_payload(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let headers = anatomy.transport.saturating_sub(anatomy.network) + 60;
    // The world's MTUs, and what outer headers leave of them.
    let near = [headers, 1232, 1252, 1260, 1272, 1280, 1400, 1452, 1460, 1472, 1480, 1500];
    let near = tools.rng.choice(near).unwrap_or_default();
    let wanted = match tools.rng.u8(..3) {
        0 => tools.rng.usize(headers..LONGEST_BYTES.max(headers + 1)),
        _ => near + tools.rng.usize(..9) - 4,
    };
    let wanted = wanted.min(LONGEST_BYTES.saturating_sub(anatomy.network));
    frame.truncate(anatomy.end.max(anatomy.transport));
    frame.resize(anatomy.network + wanted, tools.rng.u8(..));
    let at = anatomy.network + if anatomy.v4 { 2 } else { 4 };
    put_half(frame, at, length(if anatomy.v4 { wanted } else { wanted.saturating_sub(IPV6) }));
    if anatomy.protocol == UDP && anatomy.has_transport() {
        let rest = frame.len().saturating_sub(anatomy.transport);
        put_half(frame, anatomy.transport + 4, length(rest));
    }
}
