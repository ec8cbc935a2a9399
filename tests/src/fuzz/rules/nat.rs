//! What address translation makes of a packet: addresses and ports, TTL and checksums, and nothing else.
//!
//! Always holds: what went out is compared with the packet that came in, changed here field by field; a checksum that
//! was right is right, one that was wrong is as wrong, one that was absent stays absent.

use super::memory::Tuple;
use super::{Judgement, Passage, Rules};
use crate::fuzz::bytes::{byte, put, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::{header_sum, kept_header, kept_transport, transport_field, transport_sum};
use lb_common::abi::{Backend, ForwardMode, ip_address};
use lb_common::tables::RouteAnswer;
use std::net::{IpAddr, SocketAddr};

/// Ports that `full-nat` may send from begin here.
const FIRST_SNAT_PORT: u16 = 1024;

/// What becomes of both sides of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new source.
    pub source: Option<SocketAddr>,
    /// The new destination.
    pub destination: Option<SocketAddr>,
}

impl Change {
    const fn from(source: SocketAddr) -> Self {
        Self { source: Some(source), destination: None }
    }

    const fn to(destination: SocketAddr) -> Self {
        Self { source: None, destination: Some(destination) }
    }
}

/// A client's packet that left for a backend.
pub fn request(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    rules.explained_by_a_backend(passage, ForwardMode::Nat, |backend| {
        rewritten(passage, &Change::to(target(backend, passage)), true)?;
        rules.way_to_backend(backend)?.took(passage, ifindex)
    })
}

/// A backend's reply that left for a client.
pub fn reply(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    one_of(vips_of_reply(rules, passage)?, |vip| rewritten(passage, &Change::from(*vip), true))?;
    rules.way_to(passage.after.destination(passage.output))?.took(passage, ifindex)
}

/// A packet of either kind that was left to the stack to send: as it leaves, but for TTL and MACs.
pub fn for_the_stack(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    in_the_same_frame(passage)?;
    if rules.is_snat(passage.after.source(passage.output)) {
        let full = full_request(rules, passage, None);
        // A client may give itself that address, whatever the mode.
        if full.is_ok() || !rules.is_snat(passage.before.source(passage.input)) {
            return full;
        }
    }
    if rules.is_snat(passage.before.destination(passage.input)) {
        return full_reply(rules, passage, None);
    }
    let request = rules.explained_by_a_backend(passage, ForwardMode::Nat, |backend| {
        rewritten(passage, &Change::to(target(backend, passage)), false)
    });
    let Err(error) = request else { return Ok(()) };
    let vips = vips_of_reply(rules, passage).map_err(|_| error)?;
    one_of(vips, |vip| rewritten(passage, &Change::from(*vip), false))
}

/// Whether the stack got the packet because a MAC is missing.
pub fn lacks_a_neighbour(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    let after = &passage.after;
    let (source, destination) = (after.source(passage.output), after.destination(passage.output));
    match rules.fib.ask(source, destination, after.length()) {
        RouteAnswer::NoNeighbour => Ok(()),
        answer => Err(format!("the routing table says {answer:?} about {destination}")),
    }
}

/// Whether the stack got the packet because it has to be fragmented, and may be.
pub fn has_to_be_fragmented(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    let bits = byte(passage.input, passage.before.network + 6).unwrap_or_default();
    if !passage.before.v4 || bits & 0x40 != 0 {
        return Err("a packet that must not be fragmented was left to the stack for that".to_owned());
    }
    let destination = passage.after.destination(passage.output);
    let backends = rules.world.backends.iter().filter(|it| ip_address(it.address) == destination);
    let cached = backends.map(|backend| rules.mtu_to_backend(backend)).min();
    let mtu_bytes = cached.unwrap_or_else(|| rules.fib.mtu_bytes(destination));
    if passage.after.length() <= usize::from(mtu_bytes) {
        return Err(format!("{} bytes fit {mtu_bytes}", passage.after.length()));
    }
    Ok(())
}

/// Whether MACs and tags are those that came.
pub fn in_the_same_frame(passage: &Passage<'_>) -> Judgement {
    let header = ..passage.before.network;
    if passage.output.get(header) != passage.input.get(header) {
        return Err("a packet for the stack has another frame".to_owned());
    }
    Ok(())
}

/// A client's packet that left for a backend from another address, by an interface or by the stack.
pub fn full_request(rules: &Rules, passage: &Passage<'_>, ifindex: Option<u32>) -> Judgement {
    let source = end(passage, true);
    if !rules.is_snat(source.ip()) {
        return Err(format!("full-nat sends from {}", source.ip()));
    }
    if passage.before.has_transport() && source.port() < FIRST_SNAT_PORT {
        return Err(format!("full-nat sends from port {}", source.port()));
    }
    rules.explained_by_a_backend(passage, ForwardMode::FullNat, |backend| {
        let change = Change { source: Some(source), destination: Some(target(backend, passage)) };
        rewritten(passage, &change, ifindex.is_some())?;
        match ifindex {
            Some(ifindex) => rules.way_to_backend(backend)?.took(passage, ifindex),
            None => Ok(()),
        }
    })?;
    match tuples(passage) {
        Some((before, after)) => rules.memory.borrow_mut().opens(before, after),
        None => Ok(()),
    }
}

/// A session's reply that left for its client, by an interface or by the stack.
pub fn full_reply(rules: &Rules, passage: &Passage<'_>, ifindex: Option<u32>) -> Judgement {
    let to = passage.before.destination(passage.input);
    if !rules.is_snat(to) {
        return Err(format!("full-nat does not send from {to}"));
    }
    let change = Change { source: Some(end(passage, true)), destination: Some(end(passage, false)) };
    rewritten(passage, &change, ifindex.is_some())?;
    if let Some((before, after)) = tuples(passage) {
        match rules.memory.borrow().session(before) {
            Some(expected) if expected == after => {}
            Some(expected) => return Err(format!("a reply has to become {expected:?}, not {after:?}")),
            None => return Err(format!("{before:?} is a reply to nobody")),
        }
    }
    match ifindex {
        Some(ifindex) => rules.way_to(passage.after.destination(passage.output))?.took(passage, ifindex),
        None => Ok(()),
    }
}

/// Source, destination and protocol before and after; none of later fragments.
fn tuples(passage: &Passage<'_>) -> Option<(Tuple, Tuple)> {
    let Passage { input, before, output, after } = passage;
    Some((before.tuple(input)?, after.tuple(output)?))
}

/// One end of a packet that left; the port is 0 where there is none.
fn end(passage: &Passage<'_>, source: bool) -> SocketAddr {
    let (source_port, destination_port) = passage.after.ports(passage.output).unwrap_or_default();
    if source {
        SocketAddr::new(passage.after.source(passage.output), source_port)
    } else {
        SocketAddr::new(passage.after.destination(passage.output), destination_port)
    }
}

/// Where a backend listens.
fn target(backend: &Backend, passage: &Passage<'_>) -> SocketAddr {
    let (_, own) = passage.before.ports(passage.input).unwrap_or_default();
    let port = if backend.port == 0 { own } else { u16::from_be(backend.port) };
    SocketAddr::new(ip_address(backend.address), port)
}

/// Whom a reply may come from: of a later fragment more than one.
fn vips_of_reply(rules: &Rules, passage: &Passage<'_>) -> Result<Vec<SocketAddr>, String> {
    let before = &passage.before;
    let source = before.source(passage.input);
    let vips = if before.has_transport() {
        let (port, _) = before.ports(passage.input).ok_or("neither TCP nor UDP")?;
        rules.vip_of((source, port, before.protocol)).into_iter().collect()
    } else {
        rules.vips_of(source).into_iter().map(|vip| SocketAddr::new(vip, 0)).collect::<Vec<_>>()
    };
    if vips.is_empty() { Err(format!("{source} is no backend")) } else { Ok(vips) }
}

/// Whether one of the candidates explains what went out.
fn one_of<T>(candidates: Vec<T>, explains: impl Fn(&T) -> Judgement) -> Judgement {
    let mut last = Err("there is no candidate".to_owned());
    for candidate in candidates {
        last = explains(&candidate);
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Whether the IP packet is the one that came in, with other ends and, if `routed`, one hop further.
fn rewritten(passage: &Passage<'_>, change: &Change, routed: bool) -> Judgement {
    let at = passage.before.moved(passage.after.network);
    let mut expected = passage.expected();
    let (source, destination) = at.addresses();
    let ends = [(change.source, source, at.transport), (change.destination, destination, at.transport + 2)];
    for (end, address, port) in ends {
        let Some(end) = end else { continue };
        put_address(&mut expected, address, end.ip(), at.v4)?;
        if at.has_transport() {
            put_half(&mut expected, port, end.port());
        }
    }
    if routed {
        put_next_ttl(&mut expected, at.ttl())?;
    }
    let mut got = passage.output.to_vec();
    for frame in [&mut expected, &mut got] {
        if at.v4 {
            put_half(frame, at.network + 10, 0);
        }
        if let Some(field) = transport_field(&at).filter(|_| at.has_transport()) {
            put_half(frame, field, 0);
        }
    }
    if got != expected {
        return Err(format!("for {change:?}: {}", difference(&got, &expected)));
    }
    sums_are_kept(passage)
}

/// Writes an address of the packet's family.
pub fn put_address(frame: &mut [u8], at: usize, ip: IpAddr, v4: bool) -> Judgement {
    match ip {
        IpAddr::V4(ip) if v4 => put(frame, at, &ip.octets()),
        IpAddr::V6(ip) if !v4 => put(frame, at, &ip.octets()),
        _ => return Err(format!("{ip} is of the other family")),
    }
    Ok(())
}

/// Takes one from TTL or hop limit, of which there has to be more.
pub fn put_next_ttl(frame: &mut [u8], at: usize) -> Judgement {
    let ttl = byte(frame, at).unwrap_or_default();
    if ttl <= 1 {
        return Err(format!("a packet with TTL {ttl} was routed"));
    }
    put(frame, at, &[ttl - 1]);
    Ok(())
}

/// Right checksums stay right, wrong ones as wrong as they were, and absent ones absent.
pub fn sums_are_kept(passage: &Passage<'_>) -> Judgement {
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
    if !kept_header((input, before), (output, after)) {
        return Err("the header checksum does not follow what was changed".to_owned());
    }
    if !kept_transport((input, before), (output, after)) {
        return Err("the transport checksum does not follow what was changed".to_owned());
    }
    Ok(())
}
