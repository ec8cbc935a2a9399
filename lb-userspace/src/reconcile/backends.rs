//! Backends: their indexes and everything that forwarding to them needs.
//!
//! Always holds: who has an index keeps it; an index changes hands only after nothing named it, see `clearing`.

use super::snat::Snat;
use super::{BackendName, Desired, Hop, ReconcileError, links};
use crate::dataplane::{Observed, Op};
use crate::model::{Backend, ForwardMode, Model, Pool, Prefix};
use lb_common::abi::{self, BackendFlags, BackendIdentity, address};
use lb_common::pipeline::tunnel;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Identity of a backend: the same on every node and after every restart. Never 0.
pub fn identity(pool: &str, backend: &Backend) -> BackendIdentity {
    let mut hash = fnv::FnvHasher::default();
    std::hash::Hasher::write(&mut hash, pool.as_bytes());
    std::hash::Hasher::write(&mut hash, &[0]);
    std::hash::Hasher::write(&mut hash, bytemuck::bytes_of(&address(backend.address)));
    std::hash::Hasher::write(&mut hash, &backend.port.unwrap_or(0).to_be_bytes());
    BackendIdentity { identity: std::hash::Hasher::finish(&hash).max(1) }
}

/// Identities of all backends of a configuration.
pub fn identities(model: &Model) -> BTreeSet<u64> {
    let pools = model.pools.iter();
    pools
        .flat_map(|(name, pool)| pool.backends.iter().map(|backend| identity(name, backend).identity))
        .collect()
}

/// Every backend's index and entry, by identity.
pub(super) type Entries = BTreeMap<u64, (u32, abi::Backend)>;

/// Gives every backend an index and its entry. Who has an index keeps it.
pub(super) fn plan_backends(
    desired: &Desired<'_>,
    observed: &Observed,
    snat: &Snat,
    ops: &mut Vec<Op>,
) -> Result<Entries, ReconcileError> {
    let former: BTreeMap<u64, u32> =
        observed.backends.iter().map(|(index, (identity, _))| (identity.identity, *index)).collect();
    let mut free = (0..observed.capacity.backends).filter(|index| !observed.backends.contains_key(index));
    let mut entries = BTreeMap::new();
    for (pool_name, pool) in &desired.model.pools {
        for backend in &pool.backends {
            let identity = identity(pool_name, backend);
            let index = match former.get(&identity.identity) {
                Some(index) => *index,
                None => free.next().ok_or_else(|| too_many_backends(desired.model, observed))?,
            };
            if !former.contains_key(&identity.identity) {
                ops.push(Op::ResetBackendCounters(index));
            }
            let before = observed.backends.get(&index).filter(|(owner, _)| *owner == identity);
            let mut entry = backend_entry(pool, backend, desired, before.map(|(_, entry)| entry));
            let run = snat.run(pool_name, backend.address);
            (entry.snat_first, entry.snat_count) = (run.first, run.count);
            entry.flags &= !BackendFlags::DEAD;
            if desired.dead.contains(&BackendName::of(pool_name, backend)) {
                entry.flags |= BackendFlags::DEAD;
            }
            links::mark(desired, &mut entry);
            entries.insert(identity.identity, (index, entry));
            if observed.backends.get(&index) != Some(&(identity, entry)) {
                ops.push(Op::PutBackend { index, identity, backend: entry });
            }
        }
    }
    Ok(entries)
}

fn too_many_backends(model: &Model, observed: &Observed) -> ReconcileError {
    let configured = identities(model);
    let gone = observed.backends.values().filter(|(owner, _)| !configured.contains(&owner.identity)).count();
    ReconcileError::TooManyBackends {
        configured: configured.len() as u64,
        gone: gone as u64,
        capacity: observed.capacity.backends,
    }
}

/// Everything that forwarding to a backend needs. `before` is its entry as it is.
pub(super) fn backend_entry(
    pool: &Pool,
    backend: &Backend,
    desired: &Desired<'_>,
    before: Option<&abi::Backend>,
) -> abi::Backend {
    let blank = abi::Backend {
        address: address(backend.address),
        port: match pool.mode {
            ForwardMode::DsrGue => pool.gue_port,
            _ => backend.port.unwrap_or(0),
        }
        .to_be(),
        ..bytemuck::Zeroable::zeroed()
    };
    let hop = match (desired.hops.get(&backend.address), before) {
        (None, Some(before)) => return *before,
        (hop, _) => hop.copied().flatten(),
    };
    let source = tunnel_source(backend.address, hop.as_ref(), desired.model);
    let is_tunnel = pool.mode.is_tunnel();
    let mut entry = match pool.mode {
        // A router would send a frame for the VIP back to the node.
        ForwardMode::DsrL2 if hop.is_some_and(|hop| hop.gateway) => return blank,
        // A tunnel from no address would be dropped by the backend without a word. One that had an address keeps it, and
        // its flows, until there is a way again.
        ForwardMode::DsrIpip | ForwardMode::DsrGue if source.is_none() => {
            let had_one = |before: &&abi::Backend| before.tunnel_source != [0; 4];
            let valid = before.filter(|before| before.flags & BackendFlags::VALID != 0).filter(had_one);
            return valid.map_or(blank, |before| with_way(*before, None));
        }
        ForwardMode::Nat
        | ForwardMode::DsrL2
        | ForwardMode::DsrIpip
        | ForwardMode::DsrGue
        | ForwardMode::FullNat => {
            let v6 = if backend.address.is_ipv6() { BackendFlags::V6 } else { 0 };
            abi::Backend { flags: BackendFlags::VALID | v6, ..blank }
        }
    };
    if let (true, Some(source)) = (is_tunnel, source) {
        entry.tunnel_source = address(source.address());
        entry.tunnel_vary = vary(source);
        if let ([_, _, _, source], [_, _, _, destination], true) =
            (entry.tunnel_source, entry.address, backend.address.is_ipv4())
        {
            entry.outer_sum = tunnel::ipip_sum(source, destination);
        }
    }
    with_way(entry, hop.as_ref())
}

/// The entry with the way as it is now.
pub(super) fn with_way(entry: abi::Backend, hop: Option<&Hop>) -> abi::Backend {
    match hop.and_then(|hop| Some((hop, hop.destination_mac?))) {
        Some((hop, destination)) => abi::Backend {
            ethernet: ethernet(destination, hop.source_mac),
            ifindex: hop.ifindex,
            mtu_bytes: u16::try_from(hop.mtu_bytes).unwrap_or(u16::MAX),
            flags: (entry.flags & !BackendFlags::TAGGED) | BackendFlags::RESOLVED,
            ..entry
        },
        None => abi::Backend {
            ethernet: [0; 3],
            ifindex: 0,
            mtu_bytes: 0,
            flags: entry.flags & !(BackendFlags::RESOLVED | BackendFlags::TAGGED),
            ..entry
        },
    }
}

/// Where a tunnel to a backend starts: an address of the backend's family, which the outer header has.
fn tunnel_source(backend: IpAddr, hop: Option<&Hop>, model: &Model) -> Option<Prefix> {
    let same_family = |source: &&Prefix| source.is_ipv4() == backend.is_ipv4();
    let configured = model.node.tunnel_sources.iter().find(same_family).copied();
    configured.or_else(|| hop?.preferred_source.map(Prefix::from))
}

/// Bits of the last word of a source, as it lies in a packet, that may be anything.
fn vary(source: Prefix) -> u32 {
    let host_bits = u32::from(source.host_bits()).min(u32::BITS);
    u32::MAX.checked_shr(u32::BITS - host_bits).unwrap_or(0).to_be()
}

/// Destination and source MAC as they lie in a frame.
fn ethernet(destination: [u8; 6], source: [u8; 6]) -> [u32; 3] {
    let mut bytes = [0; 12];
    let (first, second) = bytes.split_at_mut(6);
    first.copy_from_slice(&destination);
    second.copy_from_slice(&source);
    bytemuck::cast(bytes)
}
