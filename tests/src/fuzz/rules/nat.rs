//! What address translation makes of a packet: one side's address and port, TTL and checksums, and nothing else.
//!
//! Always holds: what went out is compared with the packet that came in, changed here field by field; a checksum that
//! was right is right, one that was wrong is still wrong, one that was absent stays absent.

use super::{Judgement, Passage, Rules, reverse_key};
use crate::fuzz::anatomy::Anatomy;
use crate::fuzz::bytes::{byte, put, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::{header_sum, transport_field, transport_sum};
use lb_common::abi::{Backend, ForwardMode, ip_address};
use lb_common::tables::RouteAnswer;
use std::net::{IpAddr, SocketAddr};

/// Which side of the flow is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// A client's packet that left for a backend.
pub fn request(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    rules.explained_by_a_backend(passage, ForwardMode::Nat, |backend| {
        rewritten(passage, Side::Destination, target(backend, passage), true)?;
        rules.hop_to_backend(backend)?.took(passage, ifindex)
    })
}

/// A backend's reply that left for a client.
pub fn reply(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    let vip = vip_of_reply(rules, passage)?;
    rewritten(passage, Side::Source, vip, true)?;
    rules.hop_to(passage.after.destination(passage.output))?.took(passage, ifindex)
}

/// A packet of either kind that was left to the stack, because the neighbour's MAC is not known: as it leaves, but for
/// TTL and MACs.
pub fn for_the_stack(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    let after = &passage.after;
    let (source, destination) = (after.source(passage.output), after.destination(passage.output));
    let answer = rules.fib.ask(source, destination, after.length());
    if answer != RouteAnswer::NoNeighbour {
        return Err(format!("the routing table says {answer:?} about {destination}"));
    }
    if passage.output.get(..12) != passage.input.get(..12) {
        return Err("a packet for the stack has other MACs".to_owned());
    }
    let request = rules.explained_by_a_backend(passage, ForwardMode::Nat, |backend| {
        rewritten(passage, Side::Destination, target(backend, passage), false)
    });
    match (request, vip_of_reply(rules, passage)) {
        (Err(_), Ok(vip)) => rewritten(passage, Side::Source, vip, false),
        (request, _) => request,
    }
}

/// Where a backend listens.
fn target(backend: &Backend, passage: &Passage<'_>) -> SocketAddr {
    let (_, own) = passage.before.ports(passage.input).unwrap_or_default();
    let port = if backend.port == 0 { own } else { u16::from_be(backend.port) };
    SocketAddr::new(ip_address(backend.address), port)
}

/// Whom a reply has to come from.
fn vip_of_reply(rules: &Rules, passage: &Passage<'_>) -> Result<SocketAddr, String> {
    let before = &passage.before;
    let source = before.source(passage.input);
    let Some((port, _)) = before.ports(passage.input) else { return Err("neither TCP nor UDP".to_owned()) };
    let entry = rules
        .world
        .reverse
        .get(&reverse_key(source, port, before.protocol))
        .ok_or_else(|| format!("{source}, port {port}, is no backend"))?;
    Ok(SocketAddr::new(ip_address(entry.vip), u16::from_be(entry.port)))
}

/// Whether the packet is the one that came in, with `to` on one side and, if `routed`, one hop further.
fn rewritten(passage: &Passage<'_>, side: Side, to: SocketAddr, routed: bool) -> Judgement {
    let before = &passage.before;
    let mut expected = passage.input.to_vec();
    let (source, destination) = before.addresses();
    let (address, port) = match side {
        Side::Source => (source, before.transport),
        Side::Destination => (destination, before.transport + 2),
    };
    match to.ip() {
        IpAddr::V4(ip) if before.v4 => put(&mut expected, address, &ip.octets()),
        IpAddr::V6(ip) if !before.v4 => put(&mut expected, address, &ip.octets()),
        _ => return Err(format!("{to} is of the other family")),
    }
    put_half(&mut expected, port, to.port());
    if routed {
        let ttl = byte(passage.input, before.ttl()).unwrap_or_default();
        if ttl <= 1 {
            return Err(format!("a packet with TTL {ttl} was routed"));
        }
        put(&mut expected, before.ttl(), &[ttl - 1]);
    }
    let mut got = passage.output.to_vec();
    for frame in [&mut expected, &mut got] {
        without_what_is_judged_apart(frame, before);
    }
    if got != expected {
        return Err(format!("for {to}: {}", difference(&got, &expected)));
    }
    sums_are_kept(passage)
}

/// MACs and checksums.
fn without_what_is_judged_apart(frame: &mut [u8], anatomy: &Anatomy) {
    put(frame, 0, &[0; 12]);
    if anatomy.v4 {
        put_half(frame, anatomy.network + 10, 0);
    }
    if let Some(at) = transport_field(anatomy) {
        put_half(frame, at, 0);
    }
}

/// Right checksums stay right, wrong ones wrong, and absent ones absent.
fn sums_are_kept(passage: &Passage<'_>) -> Judgement {
    let Passage { input, before, output, after } = passage;
    let sums = [
        ("header", header_sum(input, before), header_sum(output, after)),
        ("transport", transport_sum(input, before), transport_sum(output, after)),
    ];
    for (what, was, is) in sums {
        if was != is {
            return Err(format!("the {what} checksum was {was:?} and is {is:?}"));
        }
    }
    Ok(())
}
