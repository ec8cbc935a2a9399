//! ICMP errors that were forwarded: to whom the packet was from that they are about, with that packet as its sender knows
//! it (RFC 5508).
//!
//! Always holds: as for `nat`, of the error and of the packet in it.

use super::memory::{Tuple, turned};
use super::nat::{in_the_same_frame, lacks_a_neighbour, put_address, put_next_ttl, sums_are_kept};
use super::{Judgement, Passage, Rules, dsr};
use crate::fuzz::anatomy::{Anatomy, ETHERNET, ICMP, ICMPV6, IPV6, TCP, TYPE_IPV4, TYPE_IPV6, UDP};
use crate::fuzz::bytes::{byte, half, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::{is_same, sum};
use lb_common::abi::{Backend, ForwardMode, ServiceValue, ip_address};
use std::net::{IpAddr, SocketAddr};

/// Length of the header of an error.
const HEADER: usize = 8;
/// Bytes of an embedded upper layer that errors have at least.
const LEAST: usize = 8;
/// Types of errors: unreachable, time exceeded, parameter problem; and all of `ICMPv6` that are defined.
const ERRORS_V4: [u8; 3] = [3, 11, 12];
const ERRORS_V6: [u8; 4] = [1, 2, 3, 4];

/// The packet that an error is about.
struct Quoted {
    flow: Tuple,
    /// Where its headers are in the error's frame.
    at: Anatomy,
}

/// What an error becomes.
struct Renamed {
    source: IpAddr,
    destination: IpAddr,
    inner: Tuple,
}

/// Reads the packet that an error is about, which came from whom the error goes to.
fn quoted(passage: &Passage<'_>) -> Result<Quoted, String> {
    let Passage { input, before, .. } = passage;
    let kind = byte(input, before.transport).unwrap_or_default();
    let is_error = match before.protocol {
        ICMP if before.v4 => ERRORS_V4.contains(&kind),
        ICMPV6 if !before.v4 => ERRORS_V6.contains(&kind),
        _ => false,
    };
    if !is_error || before.fragment.is_some() {
        return Err("it is no ICMP error, or not a whole one".to_owned());
    }
    let start = before.transport + HEADER;
    let ether_type = if before.v4 { TYPE_IPV4 } else { TYPE_IPV6 };
    let mut frame = vec![0; ETHERNET];
    put_half(&mut frame, ETHERNET - 2, ether_type);
    frame.extend_from_slice(input.get(start..before.end).ok_or("an error about nothing")?);
    let inner = Anatomy::of(&frame).ok_or("an error about less than an IP header")?;
    let version = byte(&frame, ETHERNET).unwrap_or_default() >> 4;
    if version != if before.v4 { 4 } else { 6 } {
        return Err("an error about a packet of another version".to_owned());
    }
    let flow = inner.tuple(&frame).ok_or("an error about something without ports")?;
    if inner.transport + LEAST > frame.len() || inner.is_under_way {
        return Err("an error about too little of a packet".to_owned());
    }
    if flow.0.ip() != before.destination(input) {
        return Err(format!("an error about what {} sent went to {}", flow.0, before.destination(input)));
    }
    Ok(Quoted { flow, at: inner.moved(start) })
}

/// An error about a reply, which left for the backend that sent it.
pub fn to_backend(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    let quoted = quoted(passage)?;
    let (from, to, protocol) = quoted.flow;
    let service = rules.frontend((from.ip(), from.port(), protocol));
    let service = service.ok_or_else(|| format!("{from} is no frontend"))?;
    let mode = ForwardMode::from_number(service.mode);
    let source = passage.before.source(passage.input);
    if mode == Some(ForwardMode::FullNat) {
        return is_of_a_session(rules, passage, &quoted, service, true);
    }
    rules.one_of_the_backends(&[service], |backend| {
        match mode {
            Some(ForwardMode::Nat) => {
                is_renamed(passage, &quoted, &by_nat(backend, source, (from, to, protocol)), true)?;
            }
            Some(ForwardMode::DsrL2) => dsr::same_packet(passage)?,
            Some(ForwardMode::DsrIpip) => dsr::in_tunnel(rules, passage, backend, false)?,
            Some(ForwardMode::DsrGue) => dsr::in_tunnel(rules, passage, backend, true)?,
            Some(ForwardMode::FullNat) | None => return Err("the frontend has no such mode".to_owned()),
        }
        rules.way_to_backend(backend)?.took(passage, ifindex)
    })
}

/// Whether an error about what a session's client got has the names that the backend knows.
fn is_of_a_session(
    rules: &Rules,
    passage: &Passage<'_>,
    quoted: &Quoted,
    service: ServiceValue,
    routed: bool,
) -> Judgement {
    let came = rules.memory.borrow().session_that_left(quoted.flow);
    let seen = came.ok_or_else(|| "an error about no session".to_owned()).and_then(|came| {
        let renamed = Renamed { source: came.1.ip(), destination: came.0.ip(), inner: came };
        is_renamed(passage, quoted, &renamed, routed)
    });
    // A packet that was refused may have made another session in the place of the one that was seen.
    if seen.is_ok() || !rules.memory.borrow().may_have_session(turned(quoted.flow)) {
        return seen;
    }
    // Which address and port of the node it has is known to the pipeline only.
    let Passage { after, output, .. } = passage;
    let source = after.source(output);
    let transport = quoted.at.transport + after.network - passage.before.network;
    let client = half(output, transport + 2).ok_or("no port")?;
    rules.one_of_the_backends(&[service], |backend| {
        let there = by_nat(backend, source, quoted.flow);
        let inner = (there.inner.0, SocketAddr::new(source, client), there.inner.2);
        let renamed = Renamed { source, destination: there.destination, inner };
        if !rules.is_snat(source) {
            return Err(format!("{source} is no address that sessions send from"));
        }
        is_renamed(passage, quoted, &renamed, routed)
    })
}

/// What an error about a backend's reply becomes.
fn by_nat(backend: &Backend, source: IpAddr, (from, to, protocol): Tuple) -> Renamed {
    let port = if backend.port == 0 { from.port() } else { u16::from_be(backend.port) };
    let there = SocketAddr::new(ip_address(backend.address), port);
    Renamed { source, destination: there.ip(), inner: (there, to, protocol) }
}

/// An error about a client's packet as it went to a backend, which left for the client.
pub fn to_client(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    let quoted = quoted(passage)?;
    is_renamed(passage, &quoted, &back(rules, passage, &quoted)?, true)?;
    rules.way_to(passage.after.destination(passage.output))?.took(passage, ifindex)
}

/// What an error about a client's packet becomes.
fn back(rules: &Rules, passage: &Passage<'_>, quoted: &Quoted) -> Result<Renamed, String> {
    let (from, to, protocol) = quoted.flow;
    let reporter = passage.before.source(passage.input);
    let seen_as = |vip: IpAddr| if reporter == to.ip() { vip } else { reporter };
    if let Some(vip) = rules.vip_of((to.ip(), to.port(), protocol)) {
        return Ok(Renamed {
            source: seen_as(vip.ip()),
            destination: from.ip(),
            inner: (from, vip, protocol),
        });
    }
    let left = rules.memory.borrow().session(turned(quoted.flow));
    let (vip, client, _) = left.ok_or_else(|| format!("{to} is no backend, and of no session"))?;
    Ok(Renamed { source: seen_as(vip.ip()), destination: client.ip(), inner: (client, vip, protocol) })
}

/// An error of either kind that was left to the stack, because the neighbour's MAC is not known.
pub fn for_the_stack(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    in_the_same_frame(passage)?;
    lacks_a_neighbour(rules, passage)?;
    let quoted = quoted(passage)?;
    let (from, _, protocol) = quoted.flow;
    let source = passage.before.source(passage.input);
    let renamed = match rules.frontend((from.ip(), from.port(), protocol)) {
        Some(service) if service.mode == ForwardMode::Nat as u8 => {
            return rules.one_of_the_backends(&[service], |backend| {
                is_renamed(passage, &quoted, &by_nat(backend, source, quoted.flow), false)
            });
        }
        Some(service) => return is_of_a_session(rules, passage, &quoted, service, false),
        None => back(rules, passage, &quoted)?,
    };
    is_renamed(passage, &quoted, &renamed, false)
}

/// Whether the error is the one that came in, with other names and, if `routed`, one hop further.
fn is_renamed(passage: &Passage<'_>, quoted: &Quoted, to: &Renamed, routed: bool) -> Judgement {
    let at = passage.before.moved(passage.after.network);
    let shift = passage.after.network.wrapping_sub(passage.before.network);
    let inner = quoted.at.moved(quoted.at.network.wrapping_add(shift));
    let mut expected = passage.expected();
    let (source, destination) = at.addresses();
    put_address(&mut expected, source, to.source, at.v4)?;
    put_address(&mut expected, destination, to.destination, at.v4)?;
    if routed {
        put_next_ttl(&mut expected, at.ttl())?;
    }
    let (source, destination) = inner.addresses();
    let (from, towards, _) = to.inner;
    put_address(&mut expected, source, from.ip(), at.v4)?;
    put_address(&mut expected, destination, towards.ip(), at.v4)?;
    put_half(&mut expected, inner.transport, from.port());
    put_half(&mut expected, inner.transport + 2, towards.port());
    let fields = sums_of(&at, &inner);
    let mut got = passage.output.to_vec();
    for frame in [&mut expected, &mut got] {
        for field in &fields {
            put_half(frame, *field, 0);
        }
    }
    if got != expected {
        return Err(difference(&got, &expected));
    }
    sums_are_kept(passage)?;
    quoted_sums_are_kept(passage, quoted, &inner)
}

/// Where checksums are that change.
fn sums_of(at: &Anatomy, inner: &Anatomy) -> Vec<usize> {
    let mut fields = vec![at.transport + 2];
    if at.v4 {
        fields.extend([at.network + 10, inner.network + 10]);
    }
    fields.extend(quoted_sum(inner, at.end));
    fields
}

/// Where the quoted upper layer's checksum is, if it is in an error that ends at `end`.
fn quoted_sum(inner: &Anatomy, end: usize) -> Option<usize> {
    let field = match inner.protocol {
        TCP => inner.transport + 16,
        UDP => inner.transport + 6,
        _ => return None,
    };
    (field + 2 <= end).then_some(field)
}

/// The checksums of the quoted packet, of which the rest is not there, follow what was changed in it.
fn quoted_sums_are_kept(passage: &Passage<'_>, quoted: &Quoted, moved: &Anatomy) -> Judgement {
    let sides = [(passage.input, &quoted.at, passage.before.end), (passage.output, moved, passage.after.end)];
    let header = |(frame, at, _): &(&[u8], &Anatomy, usize)| {
        let fixed = at.network..if at.v4 { at.transport } else { at.network + IPV6 };
        u32::from(frame.get(fixed).map_or(0, |header| sum(&[header])))
    };
    let upper = |(frame, at, end): &(&[u8], &Anatomy, usize)| {
        let (source, destination) = at.addresses();
        let addresses = frame.get(source..destination + (destination - source)).unwrap_or_default();
        let ports = frame.get(at.transport..at.transport + 4).unwrap_or_default();
        let field = quoted_sum(at, *end)?;
        let field = frame.get(field..field + 2)?;
        (at.protocol != UDP || field != [0, 0]).then(|| u32::from(sum(&[addresses, ports, field])))
    };
    let [before, after] = &sides;
    if passage.before.v4 && !is_same(header(before), header(after)) {
        return Err("the quoted header's checksum does not follow".to_owned());
    }
    match (upper(before), upper(after)) {
        (None, None) => Ok(()),
        (Some(was), Some(is)) if is_same(was, is) => Ok(()),
        _ => Err("the quoted upper layer's checksum does not follow".to_owned()),
    }
}

/// Whether a packet is an ICMP message.
pub const fn is_icmp(passage: &Passage<'_>) -> bool {
    matches!(passage.before.protocol, ICMP | ICMPV6)
}

/// The MTU that an error names (RFC 1191, RFC 4443).
pub fn mtu(frame: &[u8], at: &Anatomy) -> Option<u16> {
    half(frame, at.transport + 6)
}
