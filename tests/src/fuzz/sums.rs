//! Checksums, computed in full (RFC 1071): the judge of those that the datapath changes step by step.
//!
//! Imports `anatomy` and `bytes`.

use super::anatomy::{Anatomy, ICMP, ICMPV6, TCP, UDP};
use super::bytes::{half, put_half};

/// What a checksum field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// What it should.
    Right,
    /// Something else.
    Wrong,
    /// No checksum was made (UDP).
    Absent,
    /// There is none, or not all bytes that it covers are in the packet.
    Unknown,
}

/// The one's complement sum of 16-bit words; an odd byte is the high half of a last one.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        let words = part.chunks_exact(2);
        let last = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
        total += words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + last;
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or_default()
}

/// That of the IPv4 header; unknown for IPv6.
pub fn header_sum(frame: &[u8], anatomy: &Anatomy) -> Sum {
    match frame.get(anatomy.network..anatomy.transport) {
        Some(header) if anatomy.v4 && sum(&[header]) == 0xffff => Sum::Right,
        Some(_) if anatomy.v4 => Sum::Wrong,
        _ => Sum::Unknown,
    }
}

/// Offset of the upper layer's checksum.
pub fn transport_field(anatomy: &Anatomy) -> Option<usize> {
    let field = match anatomy.protocol {
        TCP => 16,
        UDP => 6,
        ICMP if anatomy.v4 => 2,
        ICMPV6 if !anatomy.v4 => 2,
        _ => return None,
    };
    Some(anatomy.transport + field)
}

/// The sum over all that the upper layer's checksum covers, itself included; none if some of it is not there.
fn covered(frame: &[u8], anatomy: &Anatomy) -> Option<u16> {
    if anatomy.fragment.is_some() || anatomy.transport > anatomy.end {
        return None;
    }
    let length = match anatomy.protocol {
        UDP => usize::from(half(frame, anatomy.transport + 4)?),
        _ => anatomy.end - anatomy.transport,
    };
    let payload = frame.get(anatomy.transport..anatomy.transport + length)?;
    if anatomy.protocol == ICMP {
        return Some(sum(&[payload]));
    }
    let (source, destination) = anatomy.addresses();
    let size = destination - source;
    let addresses = frame.get(source..source + 2 * size)?;
    let length = u32::try_from(length).ok()?.to_be_bytes();
    Some(sum(&[addresses, &length, &[0, anatomy.protocol], payload]))
}

/// That of TCP, UDP, ICMP or `ICMPv6`.
pub fn transport_sum(frame: &[u8], anatomy: &Anatomy) -> Sum {
    let field = transport_field(anatomy).and_then(|at| half(frame, at));
    match (field, covered(frame, anatomy)) {
        (Some(0), _) if anatomy.protocol == UDP && anatomy.fragment.is_none() => Sum::Absent,
        (Some(_), Some(0xffff)) => Sum::Right,
        (Some(_), Some(_)) => Sum::Wrong,
        _ => Sum::Unknown,
    }
}

/// Whether two sums are the same in one's complement, where all ones are another zero.
pub const fn is_same(a: u32, b: u32) -> bool {
    a % 0xffff == b % 0xffff
}

/// The sum of all of the IPv4 header: the same as long as its checksum follows every change.
pub fn header_total(frame: &[u8], anatomy: &Anatomy) -> Option<u16> {
    let header = frame.get(anatomy.network..anatomy.transport).filter(|_| anatomy.v4)?;
    Some(sum(&[header]))
}

/// The sum of addresses, lengths and all of the upper layer that is in the packet; in a first fragment, too.
pub fn transport_total(frame: &[u8], anatomy: &Anatomy) -> Option<u16> {
    if !anatomy.has_transport() {
        return None;
    }
    let payload = frame.get(anatomy.transport..anatomy.end)?;
    if anatomy.protocol == ICMP {
        return Some(sum(&[payload]));
    }
    let (source, destination) = anatomy.addresses();
    let addresses = frame.get(source..destination + (destination - source))?;
    let length = u32::try_from(payload.len()).ok()?.to_be_bytes();
    Some(sum(&[addresses, &length, &[0, anatomy.protocol], payload]))
}

/// A frame with where its headers are.
type Read<'a> = (&'a [u8], &'a Anatomy);

/// Whether the IPv4 header's checksum followed every change.
pub fn kept_header(before: Read<'_>, after: Read<'_>) -> bool {
    match (header_total(before.0, before.1), header_total(after.0, after.1)) {
        (Some(was), Some(is)) => is_same(was.into(), is.into()),
        (was, is) => was.is_none() && is.is_none(),
    }
}

/// Whether the upper layer's checksum followed every change, or (UDP) is still absent.
pub fn kept_transport(before: Read<'_>, after: Read<'_>) -> bool {
    let is_absent = |(frame, anatomy): Read<'_>| {
        anatomy.protocol == UDP && anatomy.has_transport() && half(frame, anatomy.transport + 6) == Some(0)
    };
    if is_absent(before) || is_absent(after) {
        return is_absent(before) && is_absent(after);
    }
    match (transport_total(before.0, before.1), transport_total(after.0, after.1)) {
        (Some(was), Some(is)) => is_same(was.into(), is.into()),
        (was, is) => was.is_none() && is.is_none(),
    }
}

/// Makes the IPv4 header's checksum right.
pub fn repair_header(frame: &mut [u8], anatomy: &Anatomy) {
    if anatomy.v4 && anatomy.transport <= frame.len() {
        put_half(frame, anatomy.network + 10, 0);
        let total = frame.get(anatomy.network..anatomy.transport).map_or(0, |header| sum(&[header]));
        put_half(frame, anatomy.network + 10, !total);
    }
}

/// Makes the upper layer's checksum right, if all that it covers is there.
pub fn repair_transport(frame: &mut [u8], anatomy: &Anatomy) {
    let Some(field) = transport_field(anatomy) else { return };
    let former = half(frame, field);
    put_half(frame, field, 0);
    match (covered(frame, anatomy), former) {
        (Some(total), _) if total == 0xffff && anatomy.protocol == UDP => put_half(frame, field, 0xffff),
        (Some(total), _) => put_half(frame, field, !total),
        (None, Some(former)) => put_half(frame, field, former),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::all;
    use lb_common::pipeline::Verdict;

    #[test]
    fn the_sum_of_the_rfc_s_example() {
        // RFC 1071, section 3.
        assert_eq!(sum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), 0xddf2);
        assert_eq!(sum(&[&[0x12]]), 0x1200);
    }

    #[test]
    fn what_etherparse_made_is_right_and_stays_so_when_repaired() {
        let forwarded = all().into_iter().filter(|it| matches!(it.verdict, Verdict::Transmit(_)));
        let mut seen = 0;
        for fixture in forwarded {
            let mut frame = fixture.expected.clone();
            let anatomy = Anatomy::of(&frame).expect("a forwarded frame has an IP header");
            assert_ne!(header_sum(&frame, &anatomy), Sum::Wrong, "{}", fixture.name);
            if transport_sum(&frame, &anatomy) == Sum::Right {
                seen += 1;
                repair_header(&mut frame, &anatomy);
                repair_transport(&mut frame, &anatomy);
                assert_eq!(frame, fixture.expected, "{}", fixture.name);
            }
        }
        assert!(seen > 100, "only {seen} with a checksum");
    }
}
