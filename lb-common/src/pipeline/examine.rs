//! Whose packet is it? Everything that the fast path left.

use super::fragments::{self, Fate, NO_ADDRESS};
use super::headers::Fragment;
use super::parse_any::parse_any;
use super::{Owner, Stage, Step, Verdict, Work};
use crate::abi::{
    Address, AddressFlags, DropReason, ForwardMode, FragmentFate, Lookups, PassReason, PortsKey, ReverseKey,
    ReverseValue, ServiceKey, ServiceValue, copy_address,
};
use crate::tables::Tables;
use crate::wire::{Packet, icmp};

/// Parses the packet, finds out whose it is, and writes it into `work`.
#[inline(always)]
pub fn examine<P: Packet, T: Tables>(packet: &mut P, tables: &T, work: &mut Work) -> Step {
    if let Err(reason) = parse_any(packet, &mut work.headers) {
        return Step::Done(Verdict::Pass(reason));
    }
    let headers = &work.headers;
    if headers.fragment == Fragment::Later {
        return later_fragment(tables, work);
    }
    if matches!(headers.flow.protocol, icmp::PROTOCOL_V4 | icmp::PROTOCOL_V6) {
        return if headers.fragment == Fragment::Whole {
            Step::Go(Stage::Icmp)
        } else {
            not_ours(tables, work, PassReason::Fragment)
        };
    }
    let flow = &headers.flow;
    if let Some(service) =
        find_service(tables, flow.destination, flow.destination_port, flow.protocol, headers.v4)
    {
        work.owner = Owner::Service;
        work.service = service;
        let stage = if service.mode == ForwardMode::FullNat as u8 { Stage::Session } else { Stage::Deliver };
        return Step::Go(stage);
    }
    find_reply(tables, work)
}

/// A packet that nobody's tables know: it is the node's, and so are the fragments behind it.
#[inline(always)]
fn not_ours<T: Tables>(tables: &T, work: &mut Work, reason: PassReason) -> Step {
    let headers = &work.headers;
    if headers.fragment == Fragment::First && is_of_pools(tables, headers.flow.destination, headers.v4) {
        fragments::remember(tables, work, Fate::PASS, &NO_ADDRESS, &NO_ADDRESS);
    }
    Step::Done(Verdict::Pass(reason))
}

#[inline(always)]
fn find_reply<T: Tables>(tables: &T, work: &mut Work) -> Step {
    let headers = &work.headers;
    let flow = &headers.flow;
    // First, because a backend may serve another pool by `nat`: to whom it answers tells the two apart.
    if is_snat(tables, flow.destination, headers.v4) {
        work.owner = Owner::SessionReply;
        return Step::Go(Stage::Session);
    }
    if let Some(reverse) = find_reverse(tables, flow.source, flow.source_port, flow.protocol, headers.v4) {
        work.owner = Owner::Reply;
        // Field by field: a copy of the whole would become a call that loops over bytes.
        copy_address(&mut work.reverse.vip, &reverse.vip);
        work.reverse.port = reverse.port;
        work.reverse.service_index = reverse.service_index;
        work.reverse.backend_index = reverse.backend_index;
        return Step::Go(Stage::Deliver);
    }
    not_ours(tables, work, PassReason::NoService)
}

#[inline(always)]
fn later_fragment<T: Tables>(tables: &T, work: &mut Work) -> Step {
    let headers = &work.headers;
    let fate = fragments::recall(tables, headers);
    let Some(fate) = fate else {
        return Step::Done(if is_of_pools(tables, headers.flow.destination, headers.v4) {
            Verdict::Drop(DropReason::FragmentEarly)
        } else {
            Verdict::Pass(PassReason::Fragment)
        });
    };
    let Some(value) = tables.fragment(&fragments::key(headers)) else {
        return Step::Done(Verdict::Drop(DropReason::FragmentEarly));
    };
    work.service.mode = value.mode;
    work.service.index = value.service_index;
    work.backend_index = value.backend_index;
    work.reverse.service_index = value.service_index;
    work.reverse.backend_index = value.backend_index;
    match fate {
        FragmentFate::Pass => Step::Done(Verdict::Pass(PassReason::Fragment)),
        FragmentFate::ToBackend => {
            work.owner = Owner::Fragment;
            Step::Go(Stage::Deliver)
        }
        FragmentFate::ToClient => {
            work.owner = Owner::ReplyFragment;
            copy_address(&mut work.reverse.vip, &value.source);
            Step::Go(Stage::Deliver)
        }
        FragmentFate::SessionToBackend | FragmentFate::SessionToClient => {
            work.owner = Owner::SessionFragment;
            copy_address(&mut work.source, &value.source);
            copy_address(&mut work.reverse.vip, &value.destination);
            work.reverse.port = u16::from(fate as u8 == FragmentFate::SessionToClient as u8);
            Step::Go(Stage::Session)
        }
    }
}

/// What an address is, apart from its frontends.
#[inline(always)]
pub fn address_flags<T: Tables>(tables: &T, address: Address, v4: bool) -> u32 {
    let key = ServiceKey { address, port: 0, protocol: 0, zero: 0 };
    tables.service(&key, v4).map_or(0, |value| value.index)
}

/// Whether `full-nat` sends from an address.
#[inline(always)]
pub fn is_snat<T: Tables>(tables: &T, address: Address, v4: bool) -> bool {
    tables.lookups() & Lookups::SESSIONS != 0 && address_flags(tables, address, v4) & AddressFlags::SNAT != 0
}

/// Whether clients connect to an address.
#[inline(always)]
pub fn is_vip<T: Tables>(tables: &T, address: Address, v4: bool) -> bool {
    address_flags(tables, address, v4) & AddressFlags::VIP != 0
        || (tables.lookups() & Lookups::NETWORKS != 0 && tables.network(address).is_some())
}

/// Whether it is an address of which packets belong to pools: a later fragment to it says nothing by itself.
#[inline(always)]
fn is_of_pools<T: Tables>(tables: &T, address: Address, v4: bool) -> bool {
    is_snat(tables, address, v4) || is_vip(tables, address, v4)
}

/// The service of an address, port and protocol: its own port before ranges before any port, and an address before the
/// network that it is in.
#[inline(always)]
pub fn find_service<T: Tables>(
    tables: &T,
    address: Address,
    port: u16,
    protocol: u8,
    v4: bool,
) -> Option<ServiceValue> {
    let key = ServiceKey { address, port, protocol, zero: 0 };
    if let Some(value) = tables.service(&key, v4) {
        return Some(*value);
    }
    let lookups = tables.lookups();
    if lookups & Lookups::PORTS != 0 {
        let flags = address_flags(tables, address, v4);
        if let Some(value) = by_port(tables, &key, v4, flags) {
            return Some(value);
        }
    }
    if lookups & Lookups::NETWORKS == 0 {
        return None;
    }
    let alias = tables.network(address)?.alias;
    let key = ServiceKey { address: alias, ..key };
    if let Some(value) = tables.service(&key, false) {
        return Some(*value);
    }
    by_port(tables, &key, false, AddressFlags::RANGES | AddressFlags::ANY_PORT)
}

#[inline(always)]
fn by_port<T: Tables>(tables: &T, key: &ServiceKey, v4: bool, flags: u32) -> Option<ServiceValue> {
    if flags & AddressFlags::RANGES != 0
        && let Some(value) = tables.range(&ports_key(key.address, key.port, key.protocol))
    {
        return Some(*value);
    }
    if flags & AddressFlags::ANY_PORT != 0 {
        return tables.service(&ServiceKey { port: 0, ..*key }, v4).copied();
    }
    None
}

/// What a reply from an address, port and protocol has to look like; a port of 0 means that it keeps its own.
#[inline(always)]
pub fn find_reverse<T: Tables>(
    tables: &T,
    address: Address,
    port: u16,
    protocol: u8,
    v4: bool,
) -> Option<&ReverseValue> {
    if !tables.has_reverse() {
        return None;
    }
    let key = ReverseKey { address, port, protocol, zero: 0 };
    if let Some(value) = tables.reverse(&key, v4) {
        return Some(value);
    }
    if tables.lookups() & Lookups::REVERSE_PORTS == 0 {
        return None;
    }
    tables.reverse_range(&ports_key(address, port, protocol))
}

#[inline(always)]
const fn ports_key(address: Address, port: u16, protocol: u8) -> PortsKey {
    PortsKey { address, protocol, zero: 0, port, zeros: 0 }
}
