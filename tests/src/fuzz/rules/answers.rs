//! What the node sends of its own accord: replies to echo requests, and ICMP errors to those whose packets cannot go on.
//!
//! Always holds: an answer goes to nobody who stands for many, by the way that the question came, and is short.

use super::errors::{is_icmp, mtu};
use super::{Judgement, Passage, Rules};
use crate::fixtures::INGRESS;
use crate::fuzz::anatomy::{ICMP, ICMPV6, IPV4, IPV6, TCP, UDP};
use crate::fuzz::bytes::{byte, half, length, put, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::mutate::answer;
use crate::fuzz::sums::{Sum, header_sum, sum, transport_sum};
use lb_common::abi::{Backend, ForwardMode, ip_address};
use std::net::IpAddr;

/// TTL and hop limit of answers.
const TTL: u8 = 64;
/// Type of service of errors (RFC 1812 section 4.3.2.5).
const TRAFFIC_CLASS: u8 = 0xc0;
/// Length of an ICMP header.
const HEADER: usize = 8;
/// Bytes of the question that an error has: its IP header and eight more, and at most these.
const QUOTED_MOST: usize = 128;
/// Type and code of echo requests and replies, by family.
const ECHO: [(u8, u8); 2] = [(8, 0), (128, 129)];

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Fragmentation needed, or packet too big.
    TooBig,
    /// Time exceeded.
    Expired,
}

/// Whom nobody may answer (RFC 1122 section 3.2.2): groups, the unspecified address, and the node's inside.
pub(super) fn stands_for_many(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() || first == 0 || first >= 240
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified() || ip.is_loopback(),
    }
}

/// What holds for every answer: it goes back where the question came from, in a frame with the same tags.
fn goes_back(passage: &Passage<'_>, ifindex: u32) -> Judgement {
    let Passage { input, before, output, after } = passage;
    let source = before.source(input);
    if ifindex != INGRESS {
        return Err(format!("an answer left by interface {ifindex}"));
    }
    if stands_for_many(source) {
        return Err(format!("{source} was answered"));
    }
    if (after.source(output), after.destination(output)) != (before.destination(input), source) {
        return Err("an answer is from or to somebody else".to_owned());
    }
    let is_group = |at: usize| byte(input, at).is_some_and(|first| first & 1 != 0);
    if is_group(0) || is_group(6) {
        return Err("a frame to or from a group of MACs was answered".to_owned());
    }
    let mut expected = input.get(..before.network).unwrap_or_default().to_vec();
    if let Some(macs) = expected.get_mut(..12) {
        macs.rotate_left(6);
    }
    if output.get(..after.network) != Some(&expected) {
        return Err("an answer is in another frame".to_owned());
    }
    Ok(())
}

/// An echo request to a VIP that was answered.
pub fn echo(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    goes_back(passage, ifindex)?;
    let Passage { input, before, output, .. } = passage;
    let (request, reply) = ECHO[usize::from(!before.v4)];
    let protocol = if before.v4 { ICMP } else { ICMPV6 };
    if before.protocol != protocol || byte(input, before.transport) != Some(request) {
        return Err("no echo request was answered by an echo reply".to_owned());
    }
    let vip = before.destination(input);
    if !rules.is_vip(vip) {
        return Err(format!("echo was answered for {vip}, which is no VIP"));
    }
    if before.transport != before.network + if before.v4 { IPV4 } else { IPV6 } || before.fragment.is_some() {
        return Err("echo with options, or in fragments, was answered".to_owned());
    }
    let mut expected = input.to_vec();
    answer(&mut expected);
    put(&mut expected, before.transport, &[reply, 0]);
    put(&mut expected, before.ttl(), &[TTL]);
    let mut got = output.to_vec();
    for frame in [&mut expected, &mut got] {
        put_half(frame, before.transport + 2, 0);
        if before.v4 {
            put_half(frame, before.network + 10, 0);
        }
    }
    if got != expected {
        return Err(difference(&got, &expected));
    }
    super::nat::sums_are_kept(passage)
}

/// An error that the node sent: built here from the packet that came, with checksums in full.
pub fn error(rules: &Rules, passage: &Passage<'_>, ifindex: u32, says: Says) -> Judgement {
    goes_back(passage, ifindex)?;
    let Passage { before, output, after, .. } = passage;
    if is_icmp(passage) || !before.has_transport() {
        return Err("an error about ICMP, or about a later fragment".to_owned());
    }
    if !matches!(before.protocol, TCP | UDP) {
        return Err("an error about what nobody serves".to_owned());
    }
    let said = mtu(output, after).unwrap_or_default();
    let expected = expected_error(passage, says, said);
    if passage.packet_after() != expected {
        return Err(difference(passage.packet_after(), &expected));
    }
    if (header_sum(output, after), transport_sum(output, after)) == (Sum::Wrong, Sum::Right)
        || transport_sum(output, after) != Sum::Right
    {
        return Err("an answer with a wrong checksum".to_owned());
    }
    match says {
        Says::Expired => is_expired(rules, passage),
        Says::TooBig => is_too_big(rules, passage, said),
    }
}

/// The error's IP packet.
pub(super) fn expected_error(passage: &Passage<'_>, says: Says, said: u16) -> Vec<u8> {
    let Passage { input, before, .. } = passage;
    let quoted = (before.transport - before.network + 8).min(QUOTED_MOST);
    let quoted = input.get(before.network..before.network + quoted).unwrap_or_default();
    let kind: [u8; 2] = match (says, before.v4) {
        (Says::TooBig, true) => [3, 4],
        (Says::TooBig, false) => [2, 0],
        (Says::Expired, true) => [11, 0],
        (Says::Expired, false) => [3, 0],
    };
    let mut message = [&kind[..], &[0; 6], quoted].concat();
    if says == Says::TooBig {
        put_half(&mut message, 6, said);
    }
    let (source, destination) = before.addresses();
    let size = destination - source;
    let (from, to) = (input.get(source..destination), input.get(destination..destination + size));
    let addresses = [to.unwrap_or_default(), from.unwrap_or_default()].concat();
    let mut header = if before.v4 {
        let mut header = vec![0x45, TRAFFIC_CLASS, 0, 0, 0, 0, 0x40, 0, TTL, ICMP, 0, 0];
        put_half(&mut header, 2, length(IPV4 + message.len()));
        header
    } else {
        let mut header = vec![0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0, 0, 0, ICMPV6, TTL];
        put_half(&mut header, 4, length(message.len()));
        header
    };
    header.extend(&addresses);
    let total = if before.v4 {
        let total = sum(&[&header]);
        put_half(&mut header, 10, !total);
        sum(&[&message])
    } else {
        sum(&[&addresses, &length(message.len()).to_be_bytes(), &[0, ICMPV6], &message])
    };
    put_half(&mut message, 2, !total);
    debug_assert!(message.len() <= HEADER + QUOTED_MOST);
    [header, message].concat()
}

/// Modes in which the node is a router.
const ROUTING: [u8; 2] = [ForwardMode::Nat as u8, ForwardMode::FullNat as u8];

/// Whether the packet's TTL was used up on a way where the node takes one off.
fn is_expired(rules: &Rules, passage: &Passage<'_>) -> Judgement {
    let ttl = byte(passage.input, passage.before.ttl()).unwrap_or_default();
    if ttl > 1 {
        return Err(format!("a packet with TTL {ttl} has expired"));
    }
    let routed = rules.frontends_of(passage)?.iter().any(|service| ROUTING.contains(&service.mode));
    if routed || is_reply(rules, passage) {
        return Ok(());
    }
    Err("a packet has expired that nobody routes".to_owned())
}

fn is_reply(rules: &Rules, passage: &Passage<'_>) -> bool {
    let Some((from, to, protocol)) = passage.before.tuple(passage.input) else { return false };
    rules.vip_of((from.ip(), from.port(), protocol)).is_some() || rules.is_snat(to.ip())
}

/// Whether the packet did not fit, could not be cut, and the answer says what would fit.
fn is_too_big(rules: &Rules, passage: &Passage<'_>, said: u16) -> Judgement {
    let before = &passage.before;
    let services = rules.frontends_of(passage)?;
    let routes = services.iter().all(|service| ROUTING.contains(&service.mode));
    let bits = half(passage.input, before.network + 6).unwrap_or_default();
    if before.v4 && routes && bits & 0x4000 == 0 {
        return Err("a packet that may be cut was refused".to_owned());
    }
    if usize::from(said) >= before.length() {
        return Err(format!("{} bytes are too big for {said}", before.length()));
    }
    let fits = |room: u16| {
        let asked = if before.v4 { room } else { room.max(1280) };
        if asked != said {
            return Err(format!("the answer says {said}, the way takes {room}"));
        }
        if before.length() <= usize::from(room) {
            return Err(format!("{} bytes fit {room}", before.length()));
        }
        Ok(())
    };
    if services.is_empty() {
        return fits(rules.fib.mtu_bytes(client_of_reply(rules, passage)?));
    }
    rules.one_of_the_backends(&services, |backend| {
        let modes = services.iter().map(|service| room(rules, backend, service.mode));
        modes.map(fits).find(Result::is_ok).unwrap_or_else(|| Err(format!("{said} is no MTU")))
    })?;
    let has_sessions = services.iter().any(|service| service.mode == ForwardMode::FullNat as u8);
    if let Some(packet) = before.tuple(passage.input).filter(|_| has_sessions) {
        rules.memory.borrow_mut().was_refused(packet);
    }
    Ok(())
}

/// Whom a backend's reply is for.
fn client_of_reply(rules: &Rules, passage: &Passage<'_>) -> Result<IpAddr, String> {
    let reply = passage.before.tuple(passage.input).filter(|_| is_reply(rules, passage));
    let reply = reply.ok_or("an error about what nobody serves")?;
    let (_, to, _) = reply;
    if !rules.is_snat(to.ip()) {
        return Ok(to.ip());
    }
    let left = rules.memory.borrow().session(reply);
    left.map(|(_, client, _)| client.ip()).ok_or_else(|| format!("{reply:?} is a reply to nobody"))
}

/// What is left of the way to a backend.
fn room(rules: &Rules, backend: &Backend, mode: u8) -> u16 {
    let outer = length(if ip_address(backend.address).is_ipv4() { IPV4 } else { IPV6 });
    let growth = match ForwardMode::from_number(mode) {
        Some(ForwardMode::DsrIpip) => outer,
        Some(ForwardMode::DsrGue) => outer + 8,
        _ => 0,
    };
    rules.mtu_to_backend(backend).saturating_sub(growth)
}
