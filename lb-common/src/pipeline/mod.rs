//! The way of a packet: parse, service, slot, backend, rewrite or encapsulate, verdict.
//!
//! Role: the branches are here, the stages only compute. Imports abi, hash, tables and wire.
//! Always holds: a packet that is passed is untouched, unless the reason says otherwise; a packet is either
//! forwarded whole or not at all. Every stage is inlined: BPF functions return scalars only.

mod choose;
pub mod dsr_ipip;
mod nat;
mod parse;
mod send;

pub use parse::{Family, Headers, family, parse};

use crate::abi::{
    Backend, BackendFlags, DropReason, ForwardMode, ForwardReason, PassReason, ReverseKey, ReverseValue,
    ServiceKey, ServiceValue,
};
use crate::tables::{RouteAnswer, RouteQuestion, Tables, Traffic};
use crate::wire::Packet;
use nat::{Replacement, Side};
use send::{Exit, Way};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel's stack.
    Pass(PassReason),
    /// Nowhere.
    Drop(DropReason),
    /// Out by the interface that it came in by.
    Transmit(ForwardReason),
    /// Out by the interface of that index.
    Redirect(ForwardReason, u32),
}

impl Verdict {
    /// The fixed number of the reason.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        match self {
            Self::Pass(reason) => reason.number(),
            Self::Drop(reason) => reason.number(),
            Self::Transmit(reason) | Self::Redirect(reason, _) => reason.number(),
        }
    }
}

/// Decides about `packet`, rewrites it where needed, and counts.
#[inline(always)]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let verdict = decide(packet, tables);
    tables.count_verdict(verdict.number());
    verdict
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    // Two copies of all that follows, one a family: each knows at compile time which fields there are, and keeps
    // them in registers.
    match family(packet.window()) {
        Ok(Family::V4) => decide_family(packet, tables, Family::V4),
        Ok(Family::V6) => decide_family(packet, tables, Family::V6),
        Err(reason) => Verdict::Pass(reason),
    }
}

#[inline(always)]
fn decide_family<P: Packet, T: Tables>(packet: &mut P, tables: &T, family: Family) -> Verdict {
    let headers = match parse(packet.window(), family) {
        Ok(headers) => headers,
        Err(reason) => return Verdict::Pass(reason),
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
            return to_client(packet, tables, &headers, entry);
        }
    }
    Verdict::Pass(PassReason::NoService)
}

/// A client's packet.
#[inline(always)]
fn to_backend<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    service: &ServiceValue,
) -> Verdict {
    let index = choose::choose(tables, headers, service);
    let Some(backend) = tables.backend(index) else {
        return Verdict::Drop(choose::no_backend(index));
    };
    if backend.flags & BackendFlags::VALID == 0 {
        return Verdict::Drop(DropReason::NoBackend);
    }
    let verdict = match ForwardMode::from_number(service.mode) {
        Some(ForwardMode::Nat) => forward_nat(packet, tables, headers, backend),
        Some(ForwardMode::DsrL2) => forward_dsr_l2(packet, tables, headers, backend),
        Some(ForwardMode::DsrIpip) => forward_dsr_ipip(packet, tables, headers, backend),
        None => Verdict::Drop(DropReason::Inconsistent),
    };
    if !matches!(verdict, Verdict::Drop(_)) {
        let traffic = Traffic { bytes: u32::from(headers.length_bytes), opens: headers.opens() };
        tables.count_service(service.index, traffic);
        tables.count_backend(index, traffic);
    }
    verdict
}

#[inline(always)]
fn forward_nat<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
) -> Verdict {
    if headers.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let way = send::way(packet, tables, headers, backend, headers.length_bytes);
    if let Exit::Closed(reason) = way.exit {
        return Verdict::Drop(reason);
    }
    let port = if backend.port == 0 { headers.flow.destination_port } else { backend.port };
    let to = Replacement { side: Side::Destination, address: backend.address, port };
    if nat::rewrite(packet.window(), headers, &to, way.routes_here()).is_none() {
        return Verdict::Drop(DropReason::Inconsistent);
    }
    send::send(packet, way, ForwardReason::Nat)
}

#[inline(always)]
fn forward_dsr_l2<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
) -> Verdict {
    let way = send::way(packet, tables, headers, backend, headers.length_bytes);
    if way.exit == Exit::Stack {
        // The stack would take the packet for itself: its destination is still the VIP.
        return Verdict::Drop(DropReason::Unresolved);
    }
    send::send(packet, way, ForwardReason::DsrL2)
}

#[inline(always)]
fn forward_dsr_ipip<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
) -> Verdict {
    let outer_length = u32::from(headers.length_bytes) + u32::from(dsr_ipip::growth(headers.v4));
    let Ok(outer_length) = u16::try_from(outer_length) else {
        return Verdict::Drop(DropReason::TooBig);
    };
    let way = send::way(packet, tables, headers, backend, outer_length);
    match way.exit {
        Exit::Wire => {}
        // Not for the stack: the longer frame has no MACs yet, and an IPv4 source of the node's own is a martian there.
        Exit::Stack => return Verdict::Drop(DropReason::Unresolved),
        Exit::Closed(reason) => return Verdict::Drop(reason),
    }
    match dsr_ipip::encapsulate(packet, headers, backend, outer_length) {
        Ok(()) => send::send(packet, way, ForwardReason::DsrIpip),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A reply on its way through the node.
#[inline(always)]
fn to_client<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    entry: &ReverseValue,
) -> Verdict {
    let route = tables.route(&RouteQuestion {
        v4: headers.v4,
        protocol: headers.flow.protocol,
        length_bytes: headers.length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: entry.vip,
        destination: headers.flow.destination,
    });
    let exit = match route.answer {
        RouteAnswer::Found => Exit::Wire,
        RouteAnswer::NoNeighbour => Exit::Stack,
        RouteAnswer::ToNode => return Verdict::Pass(PassReason::ToNode),
        RouteAnswer::None => return Verdict::Pass(PassReason::NotForwarded),
        RouteAnswer::TooBig => return Verdict::Drop(DropReason::TooBig),
    };
    let way = Way { exit, hop: route.hop };
    if headers.ttl <= 1 {
        return Verdict::Drop(DropReason::TtlExpired);
    }
    let from = Replacement { side: Side::Source, address: entry.vip, port: entry.port };
    if nat::rewrite(packet.window(), headers, &from, way.routes_here()).is_none() {
        return Verdict::Drop(DropReason::Inconsistent);
    }
    tables.count_reply(entry.service_index, entry.backend_index, u32::from(headers.length_bytes));
    send::send(packet, way, ForwardReason::NatReply)
}
