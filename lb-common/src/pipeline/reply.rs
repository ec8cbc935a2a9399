//! Replies of `nat` on their way through the node, with whatever tags, extension headers and fragments.

use super::deliver::{complain, forwarded, translate};
use super::fast::reply_question;
use super::fragments::{Fate, NO_ADDRESS};
use super::nat::{Replacement, Side};
use super::{Complaint, Owner, Step, Verdict, Work, fragments, send};
use crate::abi::{ForwardReason, FragmentFate, PassReason};
use crate::tables::{RouteAnswer, Tables};
use crate::wire::Packet;

/// Gives a backend's packet the VIP as its source and sends it on.
#[inline(always)]
pub fn to_client<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    let (headers, entry) = (&work.headers, work.reverse);
    let way = send::by_route(packet, tables, &reply_question(packet, headers, &entry));
    // What is for the node, or for nobody, is not a reply.
    match way.answer {
        RouteAnswer::ToNode => return not_a_reply(tables, work, PassReason::ToNode),
        RouteAnswer::None => return not_a_reply(tables, work, PassReason::NotForwarded),
        RouteAnswer::Found | RouteAnswer::NoNeighbour | RouteAnswer::TooBig => {}
    }
    if headers.ttl <= 1 {
        return complain(work, Complaint::Expired, 0);
    }
    let port = if entry.port == 0 { headers.flow.source_port } else { entry.port };
    let from = Replacement { side: Side::Source, address: entry.vip, port };
    let step = translate(packet, work, &way, &[from], ForwardReason::NatReply);
    if forwarded(step) {
        let bytes = u32::from(work.headers.length_bytes);
        tables.count_reply(entry.service_index, entry.backend_index, bytes);
        let fate = Fate {
            goes: FragmentFate::ToClient,
            mode: 0,
            service_index: entry.service_index,
            backend_index: entry.backend_index,
        };
        fragments::remember(tables, work, fate, &entry.vip, &NO_ADDRESS);
    }
    step
}

#[inline(always)]
fn not_a_reply<T: Tables>(tables: &T, work: &mut Work, reason: PassReason) -> Step {
    if work.owner as u8 == Owner::Reply as u8 {
        fragments::remember(tables, work, Fate::PASS, &NO_ADDRESS, &NO_ADDRESS);
    }
    Step::Done(Verdict::Pass(reason))
}
