//! The return path of `nat`: from what a backend sends to what the client shall see.

use super::backends::{Entries, identity};
use super::{Desired, ReconcileError, frontends, service_key};
use crate::dataplane::{Observed, Op};
use crate::model::ForwardMode;
use lb_common::abi::{ReverseKey, ReverseValue, ServiceKey, ServiceValue, address};
use std::collections::BTreeMap;

/// The return path of every nat frontend and backend.
pub(super) fn reverse_entries(
    desired: &Desired<'_>,
    services: &BTreeMap<ServiceKey, ServiceValue>,
    entries: &Entries,
) -> BTreeMap<ReverseKey, ReverseValue> {
    let mut reverse = BTreeMap::new();
    for (frontend, pool_name, pool) in frontends(desired.model) {
        let key = service_key(&frontend);
        let Some(service) = services.get(&key) else { continue };
        if pool.mode != ForwardMode::Nat {
            continue;
        }
        for backend in &pool.backends {
            let Some((index, _)) = entries.get(&identity(pool_name, backend).identity) else { continue };
            let port = backend.port.unwrap_or_else(|| frontend.address.port()).to_be();
            let from =
                ReverseKey { address: address(backend.address), port, protocol: key.protocol, zero: 0 };
            let value = ReverseValue {
                vip: key.address,
                port: key.port,
                zero: 0,
                service_index: service.index,
                backend_index: *index,
            };
            reverse.insert(from, value);
        }
    }
    reverse
}

pub(super) fn plan_reverse_additions(
    reverse: &BTreeMap<ReverseKey, ReverseValue>,
    observed: &Observed,
    ops: &mut Vec<Op>,
) -> Result<(), ReconcileError> {
    let beside = observed.reverse.keys().filter(|key| !reverse.contains_key(key)).count();
    let wanted = (reverse.len() + beside) as u64;
    let capacity = observed.capacity.reverse();
    if wanted > u64::from(capacity) {
        return Err(ReconcileError::TooMany {
            what: "pairs of a nat frontend and a backend (a change counts old and new)",
            wanted,
            capacity,
            limit: "backends (two pairs for each)",
        });
    }
    for (key, value) in reverse {
        if observed.reverse.get(key) != Some(value) {
            ops.push(Op::PutReverse(*key, *value));
        }
    }
    let entries = u32::try_from(reverse.len()).unwrap_or(u32::MAX);
    if entries > 0 && observed.settings.reverse_entries != entries {
        ops.push(Op::SetReverseEntries(entries));
    }
    Ok(())
}
