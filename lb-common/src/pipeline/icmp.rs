//! ICMP and ICMPv6: echo requests to VIPs are answered here (RFC 792, RFC 4443 section 4), and errors about a flow go to whoever
//! has to hear of them (RFC 5508, RFC 7690).
//!
//! Always holds: an echo is answered for a VIP and for no other address; an error is forwarded only if the packet that it
//! embeds is of a flow that is ours; nothing is remembered for it, so nobody moves a flow by speaking of it.

use super::answer::may_be_answered;
use super::embedded::{self, Embedded, Renamed};
use super::examine::{find_reverse, find_service, is_snat, is_vip};
use super::headers::{Headers, Offsets};
use super::send::{self, Way};
use super::tunnel::{self, Outer};
use super::{Complaint, Stage, Step, Verdict, Work, choose};
use crate::abi::{
    Address, AnswerKind, Backend, BackendFlags, DropReason, FlowKey, ForwardMode, ForwardReason, PassReason,
    ServiceValue, SessionWay,
};
use crate::hash::Flow;
use crate::tables::{RouteAnswer, RouteQuestion, Tables};
use crate::wire::{Packet, checksum, ethernet, icmp, ipv4, ipv6};

/// TTL and hop limit of echo replies (the number that RFC 1700 recommends).
const TTL: u8 = 64;

/// Not about us: the stack may know.
const NOT_OURS: Step = Step::Done(Verdict::Pass(PassReason::OtherProtocol));

/// Decides about an ICMP packet.
#[inline(always)]
pub fn icmp<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    let headers = &work.headers;
    let protocol = if headers.v4 { icmp::PROTOCOL_V4 } else { icmp::PROTOCOL_V6 };
    if headers.flow.protocol != protocol {
        return NOT_OURS;
    }
    let Some(header) = packet.window().chunk_at::<{ icmp::LEN }>(headers.offsets().transport) else {
        return Step::Done(Verdict::Pass(PassReason::Malformed));
    };
    let kind = header.byte::<{ icmp::field::TYPE }>();
    let (echo, is_error) = if headers.v4 {
        (icmp::v4::ECHO, icmp::v4::is_error(kind))
    } else {
        (icmp::v6::ECHO, icmp::v6::is_error(kind))
    };
    if kind == echo {
        return echo_request(packet, tables, headers);
    }
    if !is_error {
        return NOT_OURS;
    }
    if let Some(embedded) = embedded::parse(packet.window(), headers) {
        let step = error(packet, tables, work, &embedded);
        // A packet of GUE is UDP, but of no service.
        if step != NOT_OURS {
            return step;
        }
    }
    about_a_tunnel(packet, tables, work).unwrap_or(NOT_OURS)
}

/// A router between the node and a backend found a tunnel's packet too big: its client is told. None if it is not that.
#[inline(always)]
fn about_a_tunnel<P: Packet, T: Tables>(packet: &P, tables: &T, work: &mut Work) -> Option<Step> {
    let window = packet.window();
    let at = work.headers.offsets();
    let header = window.chunk_at::<{ icmp::LEN }>(at.transport)?;
    let kind = u16::from_be(header.half::<{ icmp::field::TYPE }>());
    let (too_big, mtu) = if work.headers.v4 {
        let mtu = u32::from(u16::from_be(header.half::<{ icmp::field::NEXT_HOP_MTU }>()));
        (u16::from(icmp::v4::UNREACHABLE) << 8 | u16::from(icmp::v4::FRAGMENTATION_NEEDED), mtu)
    } else {
        (u16::from(icmp::v6::PACKET_TOO_BIG) << 8, u32::from_be(header.word::<{ icmp::field::REST }>()))
    };
    if kind != too_big {
        return None;
    }
    let tunnelled = embedded::tunnelled(window, &work.headers)?;
    let (inner, flow) = (&tunnelled.headers, &tunnelled.headers.flow);
    let service = find_service(tables, flow.destination, flow.destination_port, flow.protocol, inner.v4)?;
    let gue = service.mode == ForwardMode::DsrGue as u8;
    let is_tunnel = service.mode == ForwardMode::DsrIpip as u8 || gue;
    let backend = tables.backend(choose::whose(tables, flow, inner.v4, &service))?;
    let outer = Outer { v4: backend.flags & BackendFlags::V6 == 0, gue };
    // Whoever does not know where the flow went, and from which address, cannot have seen its tunnel.
    let is_ours = tunnelled.start == work.headers.flow.destination
        && tunnelled.start == tunnel::source(backend, choose::hash(tables, inner))
        && tunnelled.end == backend.address
        && tunnelled.protocol == outer.protocol(inner.v4)
        && tunnelled.port == if gue { backend.port } else { 0 };
    if !is_tunnel || !is_ours {
        return None;
    }
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    work.complaint = Complaint::TooBigInTunnel;
    work.mtu_bytes = mtu.saturating_sub(tunnelled.overhead_bytes);
    work.skipped_bytes = u16::try_from(tunnelled.at.wrapping_sub(at.ip)).ok()?;
    if work.skipped_bytes > MOST_SKIPPED_BYTES {
        return None;
    }
    work.headers = tunnelled.headers;
    Some(Step::Go(Stage::Answer))
}

/// Headers in front of a client's packet in an error about its tunnel, at most.
const MOST_SKIPPED_BYTES: u16 = 255;

/// An echo request: answered if it is for a VIP.
#[inline(always)]
fn echo_request<P: Packet, T: Tables>(packet: &mut P, tables: &T, headers: &Headers) -> Step {
    let at = headers.offsets();
    // Options may ask for a way back; the stack knows them.
    let plain = headers.ip_header_bytes() == if headers.v4 { ipv4::LEN } else { ipv6::LEN };
    if !plain
        || !is_vip(tables, headers.flow.destination, headers.v4)
        || !may_be_answered(packet.window(), &headers.flow, headers.v4)
    {
        return NOT_OURS;
    }
    if !tables.may_answer(AnswerKind::Echo) {
        return Step::Done(Verdict::Drop(DropReason::EchoLimited));
    }
    Step::Done(match answer_echo(packet, headers, at) {
        Some(()) => Verdict::Transmit(ForwardReason::EchoReply),
        None => Verdict::Drop(DropReason::Inconsistent),
    })
}

/// Turns a request into its reply: MACs and addresses change places, which leaves every sum as it was.
#[inline(always)]
fn answer_echo<P: Packet>(packet: &P, headers: &Headers, at: Offsets) -> Option<()> {
    let window = packet.window();
    let frame = window.chunk::<{ ethernet::LEN }>(0)?;
    ethernet::set_addresses(frame, ethernet::swapped(ethernet::addresses(frame)));
    let header = window.chunk_at::<{ icmp::LEN }>(at.transport)?;
    let (reply, code) = (if headers.v4 { icmp::v4::ECHO_REPLY } else { icmp::v6::ECHO_REPLY }, 0);
    let old = header.half::<{ icmp::field::TYPE }>();
    let new = (u16::from(reply) << 8 | code).to_be();
    let change = checksum::Change::NONE.half(old, new);
    let sum = header.half::<{ icmp::field::CHECKSUM }>();
    header.set_half::<{ icmp::field::TYPE }>(new);
    // Of a reply in which all else is 0 the sum is 0 as well, and only all ones says so.
    let sum = match change.apply(sum) {
        0 => 0xffff,
        sum => sum,
    };
    header.set_half::<{ icmp::field::CHECKSUM }>(sum);
    if headers.v4 {
        let ip = window.chunk_at::<{ ipv4::LEN }>(at.ip)?;
        let ([_, _, _, source], [_, _, _, destination]) = (headers.flow.source, headers.flow.destination);
        ip.set_word::<{ ipv4::field::SOURCE }>(destination);
        ip.set_word::<{ ipv4::field::DESTINATION }>(source);
        ipv4::set_ttl(ip, TTL);
    } else {
        let ip = window.chunk_at::<{ ipv6::LEN }>(at.ip)?;
        ipv6::set_source(ip, headers.flow.destination);
        ipv6::set_destination(ip, headers.flow.source);
        ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(TTL);
    }
    Some(())
}

/// An error: whose packet does it embed?
#[inline(always)]
fn error<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work, embedded: &Embedded) -> Step {
    let inner = &embedded.flow;
    let v4 = work.headers.v4;
    // An error goes to whom the packet was from that it is about (RFC 792, RFC 4443 section 3).
    if work.headers.flow.destination != inner.source {
        return NOT_OURS;
    }
    if let Some(service) = find_service(tables, inner.source, inner.source_port, inner.protocol, v4) {
        return about_a_reply(packet, tables, work, embedded, &service);
    }
    // First, because the backend may serve another pool by `nat`.
    if is_snat(tables, inner.source, v4) {
        return about_a_session(packet, tables, work, embedded);
    }
    if let Some(entry) = find_reverse(tables, inner.destination, inner.destination_port, inner.protocol, v4) {
        let port = if entry.port == 0 { inner.destination_port } else { entry.port };
        let renamed = Renamed {
            outer_source: if work.headers.flow.source == inner.destination {
                entry.vip
            } else {
                work.headers.flow.source
            },
            outer_destination: work.headers.flow.destination,
            inner: Flow { destination: entry.vip, destination_port: port, ..*inner },
        };
        return to_client(packet, tables, work, embedded, &renamed);
    }
    NOT_OURS
}

/// An error about what a client sent, as the backend's side saw it: from an address of `full-nat`.
#[inline(always)]
fn about_a_session<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    work: &mut Work,
    embedded: &Embedded,
) -> Step {
    let inner = &embedded.flow;
    let Some(session) = tables.session(&reversed(inner)) else { return NOT_OURS };
    let way: SessionWay = session.way;
    let renamed = Renamed {
        outer_source: if work.headers.flow.source == inner.destination {
            way.source
        } else {
            work.headers.flow.source
        },
        outer_destination: way.destination,
        inner: before(&way, inner.protocol),
    };
    to_client(packet, tables, work, embedded, &renamed)
}

/// The key of the packets that an embedded one was an answer to.
#[inline(always)]
const fn reversed(inner: &Flow) -> FlowKey {
    FlowKey {
        source: inner.destination,
        destination: inner.source,
        source_port: inner.destination_port,
        destination_port: inner.source_port,
        protocol: inner.protocol as u32,
    }
}

/// What was sent before a packet that goes `way`, as its receiver knows it.
#[inline(always)]
const fn before(way: &SessionWay, protocol: u8) -> Flow {
    Flow {
        source: way.destination,
        destination: way.source,
        source_port: way.destination_port,
        destination_port: way.source_port,
        protocol,
    }
}

/// An error about what a backend sent to a client, as the client's side saw it: from the VIP.
#[inline(always)]
fn about_a_reply<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    work: &mut Work,
    embedded: &Embedded,
    service: &ServiceValue,
) -> Step {
    let inner = &embedded.flow;
    let key = reversed(inner);
    let headers = &work.headers;
    if service.mode == ForwardMode::FullNat as u8 {
        let Some(session) = tables.session(&key) else { return NOT_OURS };
        let way: SessionWay = session.way;
        let Some(backend) = tables.backend(way.backend_index) else { return NOT_OURS };
        if backend.flags & BackendFlags::VALID == 0 {
            return Step::Done(Verdict::Drop(DropReason::NoBackend));
        }
        let renamed = Renamed {
            outer_source: way.source,
            outer_destination: way.destination,
            inner: before(&way, inner.protocol),
        };
        let out = to_backend_way(packet, tables, backend, headers, headers.length_bytes, way.source);
        return rename(packet, work, embedded, &renamed, &out, ForwardReason::IcmpError);
    }
    let flow = Flow {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol: inner.protocol,
    };
    let index = choose::whose(tables, &flow, headers.v4, service);
    let Some(backend) = tables.backend(index) else {
        return Step::Done(Verdict::Drop(choose::no_backend(index)));
    };
    if backend.flags & BackendFlags::VALID == 0 {
        return Step::Done(Verdict::Drop(DropReason::NoBackend));
    }
    match ForwardMode::from_number(service.mode) {
        Some(ForwardMode::Nat) => {
            let source = headers.flow.source;
            let out = to_backend_way(packet, tables, backend, headers, headers.length_bytes, source);
            let port = if backend.port == 0 { inner.source_port } else { backend.port };
            let renamed = Renamed {
                outer_source: source,
                outer_destination: backend.address,
                inner: Flow { source: backend.address, source_port: port, ..*inner },
            };
            rename(packet, work, embedded, &renamed, &out, ForwardReason::IcmpError)
        }
        Some(ForwardMode::DsrL2) => unchanged(packet, tables, headers, backend, None),
        Some(ForwardMode::DsrIpip) => unchanged(packet, tables, headers, backend, Some(false)),
        Some(ForwardMode::DsrGue) => unchanged(packet, tables, headers, backend, Some(true)),
        Some(ForwardMode::FullNat) | None => Step::Done(Verdict::Drop(DropReason::Inconsistent)),
    }
}

#[inline(always)]
fn to_backend_way<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    backend: &Backend,
    headers: &Headers,
    length_bytes: u16,
    source: Address,
) -> Way {
    send::to_backend(packet, tables, backend, headers.flow.protocol, length_bytes, source)
}

/// To a backend that has the VIP itself: as it is, or (`gue` or not) in a tunnel.
#[inline(always)]
fn unchanged<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
    tunnel: Option<bool>,
) -> Step {
    let v4 = backend.flags & BackendFlags::V6 == 0;
    let outer = Outer { v4, gue: tunnel == Some(true) };
    let (growth, outer_v4) = match tunnel {
        Some(_) => (outer.length_bytes(), v4),
        None => (0, headers.v4),
    };
    let length = headers.length_bytes.saturating_add(u16::from(growth));
    let source = if tunnel.is_some() { backend.tunnel_source } else { headers.flow.source };
    let way = to_backend_way(packet, tables, backend, headers, length, source);
    match way.answer {
        RouteAnswer::Found => {}
        // Nobody answers an error with an error.
        RouteAnswer::TooBig => return Step::Done(Verdict::Drop(DropReason::TooBig)),
        RouteAnswer::NoNeighbour | RouteAnswer::ToNode | RouteAnswer::None => {
            return Step::Done(Verdict::Drop(DropReason::Unresolved));
        }
    }
    let framed = send::reframe(packet, headers.offsets().ip, growth, &way, send::ether_type(outer_v4));
    let at = match framed {
        Ok(at) => at,
        Err(reason) => return Step::Done(Verdict::Drop(reason)),
    };
    if tunnel.is_some() {
        let hash = choose::hash(tables, headers);
        let window = packet.window();
        let mut written = tunnel::write(window, at, outer, headers, backend, hash);
        if outer.gue {
            written = written.and_then(|()| tunnel::write_gue(window, at, outer, headers, backend, hash));
        }
        if written.is_none() {
            return Step::Done(Verdict::Drop(DropReason::Inconsistent));
        }
    }
    Step::Done(send::leave(packet, way.hop.ifindex, ForwardReason::IcmpError))
}

/// An error about what a client sent, on its way back to the client.
#[inline(always)]
fn to_client<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    work: &mut Work,
    embedded: &Embedded,
    renamed: &Renamed,
) -> Step {
    let question = RouteQuestion {
        v4: work.headers.v4,
        protocol: work.headers.flow.protocol,
        length_bytes: work.headers.length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: renamed.outer_source,
        destination: renamed.outer_destination,
    };
    let way = send::by_route(packet, tables, &question);
    match way.answer {
        // What the node itself sent to a backend, such as a health check.
        RouteAnswer::ToNode => Step::Done(Verdict::Pass(PassReason::ToNode)),
        RouteAnswer::None => Step::Done(Verdict::Pass(PassReason::NotForwarded)),
        RouteAnswer::Found | RouteAnswer::NoNeighbour | RouteAnswer::TooBig => {
            rename(packet, work, embedded, renamed, &way, ForwardReason::IcmpErrorReply)
        }
    }
}

/// Gives the packet and the one that it embeds other addresses, and sends it by `way`.
#[inline(always)]
fn rename<P: Packet>(
    packet: &mut P,
    work: &Work,
    embedded: &Embedded,
    renamed: &Renamed,
    way: &Way,
    reason: ForwardReason,
) -> Step {
    let headers = &work.headers;
    if headers.ttl <= 1 {
        return Step::Done(Verdict::Drop(DropReason::TtlExpired));
    }
    let by_stack = match way.answer {
        RouteAnswer::Found => false,
        RouteAnswer::NoNeighbour => true,
        RouteAnswer::TooBig => return Step::Done(Verdict::Drop(DropReason::TooBig)),
        RouteAnswer::ToNode | RouteAnswer::None => {
            return Step::Done(Verdict::Drop(DropReason::Unresolved));
        }
    };
    let old = headers.offsets().ip;
    let ip = if by_stack {
        old
    } else {
        match send::reframe(packet, old, 0, way, send::ether_type(headers.v4)) {
            Ok(ip) => ip,
            Err(reason) => return Step::Done(Verdict::Drop(reason)),
        }
    };
    match embedded::rename(packet.window(), headers, ip, embedded, renamed, !by_stack) {
        None => Step::Done(Verdict::Drop(DropReason::Inconsistent)),
        Some(()) if by_stack => Step::Done(Verdict::Pass(PassReason::NeighbourMissing)),
        Some(()) => Step::Done(send::leave(packet, way.hop.ifindex, reason)),
    }
}
