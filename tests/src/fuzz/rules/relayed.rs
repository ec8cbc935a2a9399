//! What a router says about a tunnel's packet, told to the client whose packet was in the tunnel.
//!
//! Always holds: the client hears of a packet that it could have sent to a tunnel's service, from the address that it sent it to,
//! with the MTU that is left beside the outer headers.

use super::answers::{Says, expected_error, stands_for_many};
use super::errors::mtu;
use super::{Judgement, Passage, Rules};
use crate::fuzz::anatomy::{Anatomy, ETHERNET, TCP, TYPE_IPV4, TYPE_IPV6, UDP};
use crate::fuzz::bytes::byte;
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::{Sum, transport_sum};
use lb_common::abi::{ForwardMode, ip_address};

/// Bytes of an ICMP header, of a UDP header, and of what is needed of an upper layer.
const EIGHT: usize = 8;
/// Protocol numbers of tunnels: IPv4, IPv6 and UDP for GUE.
const TUNNELS: [u8; 3] = [4, 41, UDP];
/// Least MTU that anybody is told over IPv4 (RFC 791 section 3.2).
const LEAST_IPV4: u16 = 68;
/// Least MTU of IPv6.
const LEAST_IPV6: u16 = 1280;
/// Room for whatever length a quoted header claims.
const ROOM: usize = 1 << 17;

/// A quoted packet in a frame of its own, with zeros where it was cut off.
fn framed(quoted: &[u8]) -> Option<Vec<u8>> {
    let ether_type = match byte(quoted, 0)? >> 4 {
        4 => TYPE_IPV4,
        6 => TYPE_IPV6,
        _ => return None,
    };
    let mut frame = vec![0; ETHERNET - 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(quoted);
    frame.resize(ROOM, 0);
    Some(frame)
}

/// A packet-too-big that came in and left for a client.
pub fn too_big(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    let Passage { input, before, output, after } = passage;
    let kind = (byte(input, before.transport), byte(input, before.transport + 1));
    if kind != (if before.v4 { (Some(3), Some(4)) } else { (Some(2), Some(0)) }) {
        return Err(format!("type and code {kind:?} were told to a client as too big"));
    }
    let quoted = input.get(before.transport + EIGHT..before.end).unwrap_or_default();
    let outer_frame = framed(quoted).ok_or("no packet is quoted")?;
    let outer = Anatomy::of(&outer_frame).ok_or("no packet is quoted")?;
    if !TUNNELS.contains(&outer.protocol) {
        return Err(format!("protocol {} is no tunnel", outer.protocol));
    }
    let gue = if outer.protocol == UDP { EIGHT } else { 0 };
    let overhead = outer.transport - ETHERNET + gue;
    let inner = quoted.get(overhead..).unwrap_or_default();
    let inner_frame = framed(inner).ok_or("nothing is in the tunnel")?;
    let client = Anatomy::of(&inner_frame).ok_or("nothing is in the tunnel")?;
    if !matches!(client.protocol, TCP | UDP) || inner.len() < client.transport - ETHERNET + EIGHT {
        return Err("no client's packet is in the tunnel".to_owned());
    }
    if before.destination(input) != outer.source(&outer_frame) {
        return Err("whoever was told had not sent the packet".to_owned());
    }
    let asked = Passage { input: &inner_frame, before: client, output, after: *after };
    let told = client.source(&inner_frame);
    if stands_for_many(told) {
        return Err(format!("{told} was told"));
    }
    is_from_a_tunnel(rules, &asked, &outer_frame, &outer)?;
    let said = mtu(output, after).unwrap_or_default();
    let left = mtu_named(passage).saturating_sub(u16::try_from(overhead).unwrap_or(u16::MAX));
    if said != left.max(if client.v4 { LEAST_IPV4 } else { LEAST_IPV6 }) {
        return Err(format!("the client was told {said}, {left} are left"));
    }
    let expected = expected_error(&asked, Says::TooBig, said);
    if passage.packet_after() != expected {
        return Err(difference(passage.packet_after(), &expected));
    }
    if transport_sum(output, after) != Sum::Right {
        return Err("an answer with a wrong checksum".to_owned());
    }
    rules.way_to(told)?.took(passage, ifindex)
}

/// The MTU that the router named; one beyond what a packet can have counts as the largest.
fn mtu_named(passage: &Passage<'_>) -> u16 {
    let Passage { input, before, .. } = passage;
    let at = before.transport + 4;
    let word = crate::fuzz::bytes::array::<4>(input, at).map_or(0, u32::from_be_bytes);
    if before.v4 { (word & 0xffff) as u16 } else { u16::try_from(word).unwrap_or(u16::MAX) }
}

/// Whether the tunnel ends at a backend of the service that the client's packet was for.
fn is_from_a_tunnel(rules: &Rules, asked: &Passage<'_>, outer_frame: &[u8], outer: &Anatomy) -> Judgement {
    let services = rules.frontends_of(asked)?;
    let is_tunnel = |mode: u8| mode == ForwardMode::DsrIpip as u8 || mode == ForwardMode::DsrGue as u8;
    if services.is_empty() || !services.iter().all(|service| is_tunnel(service.mode)) {
        return Err("the client's packet was for no service of tunnels".to_owned());
    }
    let end = outer.destination(outer_frame);
    rules.one_of_the_backends(&services, |backend| {
        if ip_address(backend.address) == end { Ok(()) } else { Err(format!("the tunnel ends at {end}")) }
    })
}
