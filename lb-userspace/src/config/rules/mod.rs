//! What must hold between the tables of a configuration.
//!
//! Role: compares a draft's parts and reports where they disagree; one file per subject. Imports `draft`,
//! `bounds`, `problem`, `suggest`, model. Pure.
//! Always holds: a part that could not be read is skipped, because it was reported already.

mod capacity;
mod family;
mod frontends;
mod nat;
mod policy;
mod probing;
mod references;
mod servers;
mod snat;
mod tunnels;
mod usage;

use std::collections::HashSet;
use std::net::IpAddr;

use super::draft::{BackendDraft, Draft, PoolDraft, ServiceDraft};
use super::problem::Problems;
use crate::model::{ForwardMode, Protocol};

/// Reports everything in which the parts of the draft disagree.
pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    references::check(draft, problems);
    capacity::check(draft, problems);
    servers::check(draft, problems);
    family::check(draft, problems);
    tunnels::check(draft, problems);
    snat::check(draft, problems);
    policy::check(draft, problems);
    probing::check(draft, problems);
    if capacity::is_expandable(draft) {
        frontends::check(draft, problems);
        nat::check(draft, problems);
    }
}

/// Reports what is legal and probably not meant.
pub(super) fn warn(draft: &Draft, warnings: &mut Problems) {
    usage::check(draft, warnings);
}

/// "IPv4" or "IPv6".
pub(super) fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn mode_name(mode: ForwardMode) -> &'static str {
    match mode {
        ForwardMode::Nat => "nat",
        ForwardMode::DsrL2 => "dsr-l2",
        ForwardMode::DsrIpip => "dsr-ipip",
        ForwardMode::DsrGue => "dsr-gue",
        ForwardMode::FullNat => "full-nat",
    }
}

/// The services in the order of the file, so that "first" in a message is first for the reader, too.
fn services(draft: &Draft) -> Vec<(&str, &ServiceDraft)> {
    let mut services: Vec<_> =
        draft.services.iter().map(|(name, service)| (name.as_str(), service)).collect();
    services.sort_by_key(|(_, service)| service.name_span.start);
    services
}

/// The pools in the order of the file.
fn pools(draft: &Draft) -> Vec<(&str, &PoolDraft)> {
    let mut pools: Vec<_> = draft.pools.iter().map(|(name, pool)| (name.as_str(), pool)).collect();
    pools.sort_by_key(|(_, pool)| pool.name_span.start);
    pools
}

/// The backends that may have a pool's flows: its own and, when those are down, those of its fallback that it has not itself.
fn members<'d>(draft: &'d Draft, pool: &'d PoolDraft) -> impl Iterator<Item = &'d BackendDraft> {
    let written = |backend: &BackendDraft| backend.address.as_ref().map(|address| address.value);
    let own: HashSet<_> = pool.backends.iter().filter_map(written).collect();
    let fallback = pool.policy.fallback().and_then(|name| draft.pools.get(name.value));
    let standbys = fallback.into_iter().flat_map(|pool| &pool.backends);
    let is_other =
        move |backend: &&BackendDraft| written(backend).is_none_or(|address| !own.contains(&address));
    pool.backends.iter().chain(standbys.filter(is_other))
}

/// The services whose pool exists, with its name and itself.
fn served(draft: &Draft) -> impl Iterator<Item = (&str, &ServiceDraft, &str, &PoolDraft)> {
    services(draft).into_iter().filter_map(|(name, service)| {
        let pool_name = &service.pool.as_ref()?.value;
        draft.pools.get(pool_name).map(|pool| (name, service, pool_name.as_str(), pool))
    })
}
