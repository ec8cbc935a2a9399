//! To the backend of a service, in every mode but `full-nat`, with whatever tags, extension headers and fragments; and the
//! replies of `nat`.

use super::fragments::{Fate, NO_ADDRESS};
use super::headers::Fragment;
use super::nat::{self, Replacement, Side};
use super::send::{self, Way};
use super::tunnel::{self, Outer};
use super::{Complaint, Owner, Stage, Step, Verdict, Work, choose, fragments, reply};
use crate::abi::{Backend, BackendFlags, DropReason, ForwardMode, ForwardReason, FragmentFate, PassReason};
use crate::tables::{RouteAnswer, Tables, Traffic};
use crate::wire::Packet;

/// Sends the packet that `work` describes on.
#[inline(always)]
pub fn deliver<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    if matches!(work.owner, Owner::Reply | Owner::ReplyFragment) {
        return reply::to_client(packet, tables, work);
    }
    let hash = choose::hash(tables, &work.headers);
    let index = if work.owner as u8 == Owner::Fragment as u8 {
        work.backend_index
    } else {
        choose::choose(tables, &work.headers, &work.service, hash)
    };
    let Some(backend) = tables.backend(index) else {
        return Step::Done(Verdict::Drop(choose::no_backend(index)));
    };
    if backend.flags & BackendFlags::VALID == 0 {
        return Step::Done(Verdict::Drop(DropReason::NoBackend));
    }
    let step = match ForwardMode::from_number(work.service.mode) {
        Some(ForwardMode::Nat) => forward_nat(packet, tables, work, backend),
        Some(ForwardMode::DsrL2) => forward_dsr_l2(packet, tables, work, backend),
        Some(ForwardMode::DsrIpip) => forward_tunnel(packet, tables, work, backend, hash, false),
        Some(ForwardMode::DsrGue) => forward_tunnel(packet, tables, work, backend, hash, true),
        Some(ForwardMode::FullNat) | None => Step::Done(Verdict::Drop(DropReason::Inconsistent)),
    };
    if forwarded(step) {
        count(tables, work, index);
    }
    step
}

/// Whether a packet left, or was rewritten for the stack to send.
#[inline(always)]
pub const fn forwarded(step: Step) -> bool {
    matches!(step, Step::Done(Verdict::Transmit(_) | Verdict::Redirect(..) | Verdict::Pass(_)))
}

#[inline(always)]
fn count<T: Tables>(tables: &T, work: &mut Work, index: u32) {
    let (headers, service) = (&work.headers, &work.service);
    let traffic = Traffic { bytes: u32::from(headers.length_bytes), opens: headers.opens() };
    tables.count_service(service.index, traffic);
    tables.count_backend(index, traffic);
    let fate = Fate {
        goes: FragmentFate::ToBackend,
        mode: service.mode,
        service_index: service.index,
        backend_index: index,
    };
    fragments::remember(tables, work, fate, &NO_ADDRESS, &NO_ADDRESS);
}

/// The answer to the sender of a packet that cannot go on; a drop where there is nobody to tell.
#[inline(always)]
pub fn complain(work: &mut Work, complaint: Complaint, mtu_bytes: u16) -> Step {
    // Only first fragments are spoken of (RFC 1122 section 3.2.2).
    if work.headers.fragment as u8 == Fragment::Later as u8 {
        return Step::Done(Verdict::Drop(match complaint {
            Complaint::TooBig | Complaint::TooBigInTunnel => DropReason::TooBig,
            Complaint::Expired => DropReason::TtlExpired,
        }));
    }
    work.complaint = complaint;
    work.mtu_bytes = mtu_bytes;
    Step::Go(Stage::Answer)
}

#[inline(always)]
fn forward_nat<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work, backend: &Backend) -> Step {
    let headers = &work.headers;
    if headers.v4 == (backend.flags & BackendFlags::V6 != 0) {
        return Step::Done(Verdict::Drop(DropReason::Inconsistent));
    }
    if headers.ttl <= 1 {
        return complain(work, Complaint::Expired, 0);
    }
    let flow = &headers.flow;
    let way = send::to_backend(packet, tables, backend, flow.protocol, headers.length_bytes, flow.source);
    let port = if backend.port == 0 { flow.destination_port } else { backend.port };
    let to = Replacement { side: Side::Destination, address: backend.address, port };
    translate(packet, work, &way, &[to], ForwardReason::Nat)
}

/// Replaces what `changes` say and sends the packet by `way`; or leaves it, rewritten, to the stack, which asks for the
/// neighbour or fragments it.
#[inline(always)]
pub fn translate<P: Packet, const N: usize>(
    packet: &mut P,
    work: &mut Work,
    way: &Way,
    changes: &[Replacement; N],
    reason: ForwardReason,
) -> Step {
    let headers = &work.headers;
    let at = headers.offsets();
    let by_stack = match way.answer {
        RouteAnswer::Found => None,
        RouteAnswer::NoNeighbour => Some(PassReason::NeighbourMissing),
        RouteAnswer::TooBig if send::may_be_fragmented(headers) => Some(PassReason::ToFragment),
        RouteAnswer::TooBig => return complain(work, Complaint::TooBig, way.mtu_bytes),
        RouteAnswer::ToNode | RouteAnswer::None => {
            return Step::Done(Verdict::Drop(DropReason::Unresolved));
        }
    };
    if let Some(reason) = by_stack {
        let rewritten = nat::rewrite_all(packet.window(), at, headers, changes, false);
        return Step::Done(match rewritten {
            Some(()) => Verdict::Pass(reason),
            None => Verdict::Drop(DropReason::Inconsistent),
        });
    }
    let ip = match send::reframe(packet, at.ip, 0, way, send::ether_type(headers.v4)) {
        Ok(ip) => ip,
        Err(reason) => return Step::Done(Verdict::Drop(reason)),
    };
    if nat::rewrite_all(packet.window(), headers.offsets_from(ip), headers, changes, true).is_none() {
        return Step::Done(Verdict::Drop(DropReason::Inconsistent));
    }
    Step::Done(send::leave(packet, way.hop.ifindex, reason))
}

#[inline(always)]
fn forward_dsr_l2<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    work: &mut Work,
    backend: &Backend,
) -> Step {
    let headers = &work.headers;
    let flow = &headers.flow;
    let way = send::to_backend(packet, tables, backend, flow.protocol, headers.length_bytes, flow.source);
    match way.answer {
        RouteAnswer::Found => {}
        RouteAnswer::TooBig => return complain(work, Complaint::TooBig, way.mtu_bytes),
        RouteAnswer::NoNeighbour | RouteAnswer::ToNode | RouteAnswer::None => {
            return Step::Done(Verdict::Drop(DropReason::Unresolved));
        }
    }
    let framed = send::reframe(packet, headers.offsets().ip, 0, &way, send::ether_type(headers.v4));
    Step::Done(match framed {
        Ok(_) => send::leave(packet, way.hop.ifindex, ForwardReason::DsrL2),
        Err(reason) => Verdict::Drop(reason),
    })
}

#[inline(always)]
fn forward_tunnel<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    work: &mut Work,
    backend: &Backend,
    hash: u64,
    gue: bool,
) -> Step {
    let headers = &work.headers;
    let outer = Outer { v4: backend.flags & BackendFlags::V6 == 0, gue };
    let growth = outer.length_bytes();
    let Some(length) = headers.length_bytes.checked_add(u16::from(growth)) else {
        return Step::Done(Verdict::Drop(DropReason::TooBig));
    };
    let protocol = outer.protocol(headers.v4);
    let way = send::to_backend(packet, tables, backend, protocol, length, backend.tunnel_source);
    match way.answer {
        RouteAnswer::Found => {}
        RouteAnswer::TooBig => {
            let mtu_bytes = way.mtu_bytes.saturating_sub(u16::from(growth));
            return complain(work, Complaint::TooBig, mtu_bytes);
        }
        RouteAnswer::NoNeighbour | RouteAnswer::ToNode | RouteAnswer::None => {
            return Step::Done(Verdict::Drop(DropReason::Unresolved));
        }
    }
    let framed = send::reframe(packet, headers.offsets().ip, growth, &way, send::ether_type(outer.v4));
    let at = match framed {
        Ok(at) => at,
        Err(reason) => return Step::Done(Verdict::Drop(reason)),
    };
    let window = packet.window();
    let mut written = tunnel::write(window, at, outer, headers, backend, hash);
    if gue {
        written = written.and_then(|()| tunnel::write_gue(window, at, outer, headers, backend, hash));
    }
    if written.is_none() {
        return Step::Done(Verdict::Drop(DropReason::Inconsistent));
    }
    let reason = if gue { ForwardReason::DsrGue } else { ForwardReason::DsrIpip };
    Step::Done(send::leave(packet, way.hop.ifindex, reason))
}
