//! The fast path: whole TCP and UDP packets without tags and extension headers, to and from backends whose next hop is
//! known, in the modes that need no more than the packet and the tables.
//!
//! Always holds: what it does not finish is untouched, and any other stage may begin with it from the start.

use super::examine::address_flags;
use super::nat::{self, Replacement, Side};
use super::parse::{Family, family, parse};
use super::send::{self, Way};
use super::tunnel::{self, Outer};
use super::{Headers, Stage, Step, Verdict, choose};
use crate::abi::{
    Address, Backend, BackendFlags, DropReason, ForwardMode, ForwardReason, Lookups, PassReason, ReverseKey,
    ReverseValue, ServiceKey, ServiceValue,
};
use crate::tables::{NextHop, RouteAnswer, RouteQuestion, Tables, Traffic};
use crate::wire::{Packet, ethernet};

/// Decides about most packets.
#[inline(always)]
pub fn fast<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Step {
    // Two copies of all that follows, one a family: each knows at compile time which fields there are, and keeps
    // them in registers.
    match family(packet.window()) {
        Ok(Family::V4) => fast_family(packet, tables, Family::V4),
        Ok(Family::V6) => fast_family(packet, tables, Family::V6),
        Err(step) => step,
    }
}

#[inline(always)]
fn fast_family<P: Packet, T: Tables>(packet: &mut P, tables: &T, family: Family) -> Step {
    let headers = match parse(packet.window(), packet.len_bytes(), family) {
        Ok(headers) => headers,
        Err(step) => return step,
    };
    let flow = &headers.flow;
    let key = ServiceKey {
        address: flow.destination,
        port: flow.destination_port,
        protocol: flow.protocol,
        zero: 0,
    };
    if let Some(service) = tables.service(&key, headers.v4) {
        return to_backend(packet, tables, &headers, service);
    }
    if tables.has_reverse() {
        let key =
            ReverseKey { address: flow.source, port: flow.source_port, protocol: flow.protocol, zero: 0 };
        if let Some(entry) = tables.reverse(&key, headers.v4) {
            // To whom it answers tells apart what several pools ask of one backend.
            if is_to_ours(tables, flow.destination, headers.v4) {
                return Step::Go(Stage::Examine);
            }
            return to_client(packet, tables, &headers, entry);
        }
    }
    if tables.lookups() != 0 {
        return Step::Go(Stage::Examine);
    }
    Step::Done(Verdict::Pass(PassReason::NoService))
}

/// Whether a backend's packet may be for one of the addresses that clients or sessions have, at a port that is not in the
/// table of services.
#[inline(always)]
fn is_to_ours<T: Tables>(tables: &T, destination: Address, v4: bool) -> bool {
    const OF_ADDRESSES: u32 = Lookups::PORTS | Lookups::SESSIONS;
    let lookups = tables.lookups();
    (lookups & OF_ADDRESSES != 0 && address_flags(tables, destination, v4) != 0)
        || (lookups & Lookups::NETWORKS != 0 && tables.network(destination).is_some())
}

/// Flags of a backend that decide whether its packets stay here.
const DECIDING: u16 = BackendFlags::VALID | BackendFlags::RESOLVED | BackendFlags::V6 | BackendFlags::TAGGED;

/// A client's packet.
#[inline(always)]
fn to_backend<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    service: &ServiceValue,
) -> Step {
    // A session outlives what the slots say.
    if service.mode == ForwardMode::FullNat as u8 {
        return Step::Go(Stage::Examine);
    }
    let hash = choose::hash(tables, headers);
    let index = choose::choose(tables, headers, service, hash);
    let Some(backend) = tables.backend(index) else {
        return Step::Done(Verdict::Drop(choose::no_backend(index)));
    };
    let family = if headers.v4 { 0 } else { BackendFlags::V6 };
    if backend.flags & DECIDING != BackendFlags::VALID | BackendFlags::RESOLVED | family {
        return Step::Go(Stage::Examine);
    }
    let verdict = match ForwardMode::from_number(service.mode) {
        Some(ForwardMode::Nat) => forward_nat(packet, headers, backend),
        Some(ForwardMode::DsrL2) => forward_dsr_l2(packet, headers, backend),
        Some(ForwardMode::DsrIpip) => forward_dsr_ipip(packet, headers, backend, hash),
        Some(ForwardMode::DsrGue | ForwardMode::FullNat) | None => None,
    };
    let Some(verdict) = verdict else { return Step::Go(Stage::Examine) };
    if !matches!(verdict, Verdict::Drop(_)) {
        let traffic = Traffic { bytes: u32::from(headers.length_bytes), opens: headers.opens() };
        tables.count_service(service.index, traffic);
        tables.count_backend(index, traffic);
    }
    Step::Done(verdict)
}

#[inline(always)]
fn forward_nat<P: Packet>(packet: &mut P, headers: &Headers, backend: &Backend) -> Option<Verdict> {
    if headers.ttl <= 1 || headers.length_bytes > backend.mtu_bytes {
        return None;
    }
    let port = if backend.port == 0 { headers.flow.destination_port } else { backend.port };
    let to = Replacement { side: Side::Destination, address: backend.address, port };
    if nat::rewrite(packet.window(), headers.offsets(), headers, &to, true).is_none() {
        return Some(Verdict::Drop(DropReason::Inconsistent));
    }
    Some(send::send(packet, &hop(backend), ForwardReason::Nat))
}

#[inline(always)]
fn forward_dsr_l2<P: Packet>(packet: &mut P, headers: &Headers, backend: &Backend) -> Option<Verdict> {
    if headers.length_bytes > backend.mtu_bytes {
        return None;
    }
    Some(send::send(packet, &hop(backend), ForwardReason::DsrL2))
}

/// IPv4 in IPv4, or IPv6 in IPv6.
#[inline(always)]
fn forward_dsr_ipip<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    backend: &Backend,
    hash: u64,
) -> Option<Verdict> {
    let outer = Outer { v4: headers.v4, gue: false };
    let length = u32::from(headers.length_bytes) + u32::from(outer.length_bytes());
    if length > u32::from(backend.mtu_bytes) {
        return None;
    }
    if !packet.grow_head(outer.length_bytes()) {
        return Some(Verdict::Drop(DropReason::NoHeadroom));
    }
    let window = packet.window();
    let written = window.chunk::<{ ethernet::LEN }>(0).and_then(|frame| {
        frame.set_half::<{ ethernet::field::ETHER_TYPE }>(send::ether_type(headers.v4));
        tunnel::write(window, ethernet::LEN, outer, headers, backend, hash)
    });
    if written.is_none() {
        return Some(Verdict::Drop(DropReason::Inconsistent));
    }
    Some(send::send(packet, &hop(backend), ForwardReason::DsrIpip))
}

#[inline(always)]
const fn hop(backend: &Backend) -> NextHop {
    NextHop { ethernet: backend.ethernet, ifindex: backend.ifindex }
}

/// A reply on its way through the node.
#[inline(always)]
fn to_client<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    entry: &ReverseValue,
) -> Step {
    let way: Way = send::by_route(packet, tables, &reply_question(packet, headers, entry));
    if way.answer != RouteAnswer::Found || way.tags != [0; 2] || headers.ttl <= 1 {
        return Step::Go(Stage::Examine);
    }
    let from = Replacement { side: Side::Source, address: entry.vip, port: entry.port };
    if nat::rewrite(packet.window(), headers.offsets(), headers, &from, true).is_none() {
        return Step::Done(Verdict::Drop(DropReason::Inconsistent));
    }
    tables.count_reply(entry.service_index, entry.backend_index, u32::from(headers.length_bytes));
    Step::Done(send::send(packet, &way.hop, ForwardReason::NatReply))
}

/// What the routing table is asked for a reply.
#[inline(always)]
pub(super) fn reply_question<P: Packet>(
    packet: &P,
    headers: &Headers,
    entry: &ReverseValue,
) -> RouteQuestion {
    RouteQuestion {
        v4: headers.v4,
        protocol: headers.flow.protocol,
        length_bytes: headers.length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: entry.vip,
        destination: headers.flow.destination,
    }
}
