//! What direct server return makes of a packet: the same IP packet, in another frame or behind an outer header.

use super::{Judgement, Passage, Rules};
use crate::fuzz::anatomy::{IPV4, IPV6, TCP, UDP};
use crate::fuzz::bytes::{array, half, length, put, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::{Sum, header_total, is_same, sum, transport_sum, transport_total};
use lb_common::abi::{Address, Backend, address, ip_address};
use std::net::IpAddr;

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;
/// Protocol numbers of IPv4 and IPv6 in IP (RFC 2003, RFC 2473).
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
/// First source port of GUE.
const FIRST_GUE_PORT: u16 = 0xc000;
/// Length of a UDP header.
const UDP_HEADER: usize = 8;

/// `dsr-l2`: nothing but the frame.
pub fn same_packet(passage: &Passage<'_>) -> Judgement {
    same(passage.packet_after(), passage.packet_before())
}

/// `dsr-ipip` and `dsr-gue`: the packet as it came, behind an outer header of which all is computed here but what varies
/// with the flow.
pub fn in_tunnel(rules: &Rules, passage: &Passage<'_>, backend: &Backend, gue: bool) -> Judgement {
    let got = passage.packet_after();
    let outer = outer_header(passage, backend, gue)?;
    let more = if gue { UDP_HEADER } else { 0 };
    let (header, rest) = got.split_at_checked(outer.len()).ok_or("there is no outer header")?;
    same(header, &outer)?;
    let (udp, inner) = rest.split_at_checked(more).ok_or("there is no UDP header")?;
    same(inner, passage.packet_before())?;
    if gue {
        gue_header(passage, backend, udp)?;
    }
    let source_port = udp.get(..2).unwrap_or_default();
    let varies = [header, source_port].concat();
    rules.memory.borrow_mut().stays_in_its_tunnel(passage, &without_the_packet_s_own(varies))
}

/// Of an outer header, what may vary with the flow but not with the packet: not length, class and checksum.
fn without_the_packet_s_own(mut header: Vec<u8>) -> Vec<u8> {
    if header.first().is_some_and(|first| first >> 4 == 4) {
        put(&mut header, 1, &[0, 0, 0]);
        put_half(&mut header, 10, 0);
    } else {
        let second = header.get(1).copied().unwrap_or_default();
        put(&mut header, 0, &[0, second & 0x0f]);
        put_half(&mut header, 4, 0);
    }
    header
}

fn same(got: &[u8], expected: &[u8]) -> Judgement {
    if got == expected { Ok(()) } else { Err(difference(got, expected)) }
}

/// The outer header to a backend: with the source that is there, if it is one of the tunnel's, and the flow label that is.
fn outer_header(passage: &Passage<'_>, backend: &Backend, gue: bool) -> Result<Vec<u8>, String> {
    let source = passage.after.source(passage.output);
    let fixed = |[first, second, third, last]: Address| [first, second, third, last & !backend.tunnel_vary];
    if fixed(address(source)) != fixed(backend.tunnel_source) {
        return Err(format!("a tunnel from {source}"));
    }
    let more = if gue { UDP_HEADER } else { 0 };
    let payload = passage.before.length() + more;
    let class = passage.before.traffic_class(passage.input);
    let protocol = match (gue, passage.before.v4) {
        (true, _) => UDP,
        (false, true) => IPV4_IN_IP,
        (false, false) => IPV6_IN_IP,
    };
    match (source, ip_address(backend.address)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, class, 0, 0, 0, 0, 0x40, 0, OUTER_TTL, protocol, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            put_half(&mut header, 2, length(payload + IPV4));
            let total = sum(&[&header]);
            put_half(&mut header, 10, !total);
            Ok(header)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0; 8];
            header.extend(source.octets());
            header.extend(destination.octets());
            let label: [u8; 4] = array(passage.packet_after(), 0).unwrap_or_default();
            put(&mut header, 0, &[0x60 | class >> 4, class << 4 | label[1] & 0x0f, label[2], label[3]]);
            put_half(&mut header, 4, length(payload));
            put(&mut header, 6, &[protocol, OUTER_TTL]);
            debug_assert_eq!(header.len(), IPV6);
            Ok(header)
        }
        (source, destination) => Err(format!("a tunnel from {source} to {destination}")),
    }
}

/// The UDP header of GUE.
fn gue_header(passage: &Passage<'_>, backend: &Backend, udp: &[u8]) -> Judgement {
    let source_port = half(udp, 0).unwrap_or_default();
    if source_port < FIRST_GUE_PORT {
        return Err(format!("GUE from port {source_port}"));
    }
    if half(udp, 2) != Some(u16::from_be(backend.port)) {
        return Err("GUE to another port".to_owned());
    }
    if half(udp, 4) != Some(length(passage.before.length() + UDP_HEADER)) {
        return Err("the length in the UDP header of GUE".to_owned());
    }
    let has_sum = half(udp, 6) != Some(0);
    if passage.after.v4 {
        return if has_sum { Err("GUE over IPv4 has a checksum".to_owned()) } else { Ok(()) };
    }
    if has_sum != gives_its_sum_away(passage) {
        return Err(format!("GUE over IPv6 has a checksum: {has_sum}"));
    }
    if has_sum { gue_sum(passage) } else { Ok(()) }
}

/// Whether the checksums of a packet say what the sum of all its bytes is: it is whole, its upper layer has a checksum over
/// all that is behind the IP header, and there is nothing in between that has none.
fn gives_its_sum_away(passage: &Passage<'_>) -> bool {
    let Passage { input, before, .. } = passage;
    let is_plain = before.v4 || before.transport == before.network + IPV6;
    let covers_all = match before.protocol {
        TCP => true,
        UDP => {
            let length = half(input, before.transport + 4).map(usize::from);
            length == Some(before.end - before.transport) && transport_sum(input, before) != Sum::Absent
        }
        _ => false,
    };
    before.fragment.is_none() && is_plain && covers_all
}

/// The checksum of GUE over IPv6 is right if those of the packet in it are; it is as wrong as they are together.
fn gue_sum(passage: &Passage<'_>) -> Judgement {
    let Passage { input, before, output, after } = passage;
    let outer = transport_total(output, after).unwrap_or_default();
    let inner = [header_total(input, before), transport_total(input, before)];
    let inner = inner.into_iter().flatten().fold(0_u32, |sum, part| sum + u32::from(part));
    if is_same(u32::from(outer), inner) { Ok(()) } else { Err("the checksum of GUE is wrong".to_owned()) }
}
