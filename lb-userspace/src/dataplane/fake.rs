//! A dataplane in memory: the pipeline's tables behind the operations, for tests and simulation.

use super::op::{address_key, is_address};
use super::{
    Backends, Capacity, Dataplane, DataplaneError, NetworkPrefix, Observed, Op, PortsPrefix, Region,
    SessionPage,
};
use lb_common::abi::{
    BackendCounters, BackendIdentity, FlowCounters, FlowKey, FlowValue, PortsKey, SNAT_ADDRESSES,
    ServiceCounters, ServiceKey, ServiceValue, Session, Settings, Slot, names,
};
use lb_common::hash::HashKey;
use lb_common::tables::MemTables;
use std::collections::{BTreeMap, BTreeSet};

/// Maps in memory, of the sizes given, with the limits that the kernel's would have.
#[derive(Debug)]
pub struct FakeDataplane {
    /// The tables, for running packets through the pipeline.
    pub tables: MemTables,
    capacity: Capacity,
    identities: BTreeMap<u32, BackendIdentity>,
    devices: BTreeSet<u32>,
}

impl FakeDataplane {
    /// Empty maps.
    pub fn new(capacity: Capacity, hash_key: HashKey) -> Self {
        let mut tables = MemTables::new(hash_key);
        tables.slots = vec![Slot::stable(0); capacity.slots as usize];
        tables.backends = vec![bytemuck::Zeroable::zeroed(); capacity.backends as usize];
        tables.snat = vec![[0; 4]; SNAT_ADDRESSES as usize];
        tables.flows.get_mut().capacity = capacity.flows as usize;
        tables.session_capacity = 2 * capacity.sessions as usize;
        tables.settings = Settings {
            hash_key: [hash_key.0, hash_key.1],
            record_rates: capacity.record_rates(1),
            ..Settings::default()
        };
        Self { tables, capacity, identities: BTreeMap::new(), devices: BTreeSet::new() }
    }

    fn put_service(&mut self, key: ServiceKey, value: ServiceValue) -> Result<(), DataplaneError> {
        let capacity = self.capacity.service_keys();
        let services = &mut self.tables.services;
        if !services.contains_key(&key) && services.len() >= capacity as usize {
            return Err(DataplaneError::Full { map: names::SERVICES, capacity });
        }
        services.insert(key, value);
        Ok(())
    }
}

/// Pages that sessions are read in: as in the kernel, an entry's page does not depend on the others.
const SESSION_BUCKETS: u32 = 16;

fn bucket_of(key: &FlowKey) -> u32 {
    let sum: u32 = bytemuck::bytes_of(key).iter().map(|byte| u32::from(*byte)).sum();
    sum % SESSION_BUCKETS
}

/// A longest-prefix table in memory: each key with its length in bits.
type Prefixes<K, V> = Vec<(u32, K, V)>;

fn put_prefix<K: PartialEq, V>(
    table: &mut Prefixes<K, V>,
    (bits, key): (u32, K),
    value: V,
    (map, capacity): (&'static str, u32),
) -> Result<(), DataplaneError> {
    let full = table.len() >= capacity as usize;
    match table.iter_mut().find(|(other_bits, other, _)| *other_bits == bits && *other == key) {
        Some((_, _, former)) => *former = value,
        None if full => return Err(DataplaneError::Full { map, capacity }),
        None => table.push((bits, key, value)),
    }
    Ok(())
}

fn delete_prefix<K: PartialEq, V>(table: &mut Prefixes<K, V>, bits: u32, key: &K) {
    table.retain(|(other_bits, other, _)| (*other_bits, other) != (bits, key));
}

fn ports_prefixes<V: Copy>(table: &Prefixes<PortsKey, V>) -> BTreeMap<PortsPrefix, V> {
    table.iter().map(|(bits, key, value)| (PortsPrefix { key: *key, bits: *bits }, *value)).collect()
}

impl Dataplane for FakeDataplane {
    fn observe(&self) -> Result<Observed, DataplaneError> {
        let ranges = ports_prefixes(&self.tables.ranges);
        let frontends = self.tables.services.values().chain(ranges.values());
        let tables = frontends.filter(|value| value.slot_count > 0).filter_map(|value| {
            let start = value.slot_offset as usize;
            let slots = self.tables.slots.get(start..start + value.slot_count as usize)?;
            Some((Region::of(value), slots.to_vec()))
        });
        let tables = tables.collect();
        let (addresses, services): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.tables.services.iter().partition(|(key, _)| is_address(key));
        let network =
            |(bits, address, value): &(u32, _, _)| (NetworkPrefix { address: *address, bits: *bits }, *value);
        let snat = (0..).zip(&self.tables.snat).filter(|(_, address)| **address != [0; 4]);
        Ok(Observed {
            capacity: self.capacity,
            settings: self.tables.settings,
            services,
            addresses: addresses.into_iter().map(|(key, value)| (key.address, value.index)).collect(),
            ranges,
            networks: self.tables.networks.iter().map(network).collect(),
            reverse: self.tables.reverse.clone(),
            reverse_ranges: ports_prefixes(&self.tables.reverse_ranges),
            snat: snat.map(|(index, address)| (index, *address)).collect(),
            backends: self.backends()?,
            tables,
            devices: self.devices.clone(),
            links: self.tables.links.clone(),
        })
    }

    fn settings(&self) -> Result<Settings, DataplaneError> {
        Ok(self.tables.settings)
    }

    fn backends(&self) -> Result<Backends, DataplaneError> {
        let backends = self.identities.iter().filter_map(|(index, identity)| {
            let backend = self.tables.backends.get(*index as usize)?;
            Some((*index, (*identity, *backend)))
        });
        Ok(backends.collect())
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        match op {
            Op::PutDevice(ifindex) => {
                self.devices.insert(*ifindex);
            }
            Op::PutLink(ifindex, link) => {
                self.tables.links.insert(*ifindex, *link);
            }
            Op::DeleteLink(ifindex) => {
                self.tables.links.remove(ifindex);
            }
            Op::PutBackend { index, identity, backend } => {
                let entry = self.tables.backends.get_mut(*index as usize);
                *entry.ok_or(DataplaneError::OutOfRange { map: names::BACKENDS, index: *index })? = *backend;
                self.identities.insert(*index, *identity);
            }
            Op::ResetBackendCounters(index) => {
                self.tables.backend_counters.borrow_mut().remove(index);
            }
            Op::ResetServiceCounters(index) => {
                self.tables.service_counters.borrow_mut().remove(index);
            }
            Op::WriteSlots { offset, slots } => {
                let start = *offset as usize;
                let region = self.tables.slots.get_mut(start..start + slots.len());
                region
                    .ok_or(DataplaneError::OutOfRange { map: names::SLOTS, index: *offset })?
                    .copy_from_slice(slots);
            }
            Op::PutReverse(key, value) => {
                self.tables.reverse.insert(*key, *value);
            }
            Op::DeleteReverse(key) => {
                self.tables.reverse.remove(key);
            }
            Op::SetReverseEntries(entries) => self.tables.settings.reverse_entries = *entries,
            Op::SetRecording(recording) => self.tables.settings.recording = *recording as u32,
            Op::PutService(key, value) => self.put_service(*key, *value)?,
            Op::DeleteService(key) => {
                self.tables.services.remove(key);
            }
            Op::PutAddress(address, flags) => {
                self.put_service(address_key(*address), ServiceValue::of_address(*flags))?;
            }
            Op::DeleteAddress(address) => {
                self.tables.services.remove(&address_key(*address));
            }
            Op::PutRange(PortsPrefix { key, bits }, value) => {
                let room = (names::RANGES, self.capacity.ranges());
                put_prefix(&mut self.tables.ranges, (*bits, *key), *value, room)?;
            }
            Op::DeleteRange(PortsPrefix { key, bits }) => {
                delete_prefix(&mut self.tables.ranges, *bits, key);
            }
            Op::PutNetwork(NetworkPrefix { address, bits }, value) => {
                let room = (names::NETWORKS, self.capacity.services);
                put_prefix(&mut self.tables.networks, (*bits, *address), *value, room)?;
            }
            Op::DeleteNetwork(NetworkPrefix { address, bits }) => {
                delete_prefix(&mut self.tables.networks, *bits, address);
            }
            Op::PutReverseRange(PortsPrefix { key, bits }, value) => {
                let room = (names::REVERSE_RANGES, self.capacity.reverse_ranges());
                put_prefix(&mut self.tables.reverse_ranges, (*bits, *key), *value, room)?;
            }
            Op::DeleteReverseRange(PortsPrefix { key, bits }) => {
                delete_prefix(&mut self.tables.reverse_ranges, *bits, key);
            }
            Op::PutSnat { index, address } => {
                let entry = self.tables.snat.get_mut(*index as usize);
                *entry.ok_or(DataplaneError::OutOfRange { map: names::SNAT, index: *index })? = *address;
            }
            Op::SetLookups(lookups) => self.tables.settings.lookups = *lookups,
            Op::WaitForReaders => {}
            Op::ClearBackend(index) => {
                self.identities.remove(index);
                if let Some(entry) = self.tables.backends.get_mut(*index as usize) {
                    *entry = bytemuck::Zeroable::zeroed();
                }
            }
        }
        Ok(())
    }

    fn service_counters(&self, index: u32) -> Result<ServiceCounters, DataplaneError> {
        Ok(self.tables.service_counters.borrow().get(&index).copied().unwrap_or_default())
    }

    fn backend_counters(&self, index: u32) -> Result<BackendCounters, DataplaneError> {
        Ok(self.tables.backend_counters.borrow().get(&index).copied().unwrap_or_default())
    }

    fn sweep_flows(
        &mut self,
        is_over: &mut dyn FnMut(&FlowKey, FlowValue) -> bool,
    ) -> Result<(), DataplaneError> {
        let flows = self.tables.flows.get_mut();
        let over: Vec<FlowKey> =
            flows.iter().filter(|(key, value)| is_over(key, *value)).map(|(key, _)| *key).collect();
        for key in &over {
            flows.remove(key);
        }
        Ok(())
    }

    fn sessions_from(&self, position: Option<u32>) -> Result<SessionPage, DataplaneError> {
        let bucket = position.unwrap_or(0);
        let sessions = self.tables.sessions.borrow();
        let entries = sessions.iter().filter(|(key, _)| bucket_of(key) == bucket);
        let entries = entries.map(|(key, cell)| (*key, Session { way: cell.way, seen: cell.seen() }));
        Ok(SessionPage {
            entries: entries.collect(),
            next: Some(bucket + 1).filter(|next| *next < SESSION_BUCKETS),
        })
    }

    fn session(&self, key: &FlowKey) -> Result<Option<Session>, DataplaneError> {
        let sessions = self.tables.sessions.borrow();
        Ok(sessions.get(key).map(|cell| Session { way: cell.way, seen: cell.seen() }))
    }

    fn forget_sessions(&mut self, keys: &[FlowKey]) -> Result<(), DataplaneError> {
        let sessions = self.tables.sessions.get_mut();
        for key in keys {
            sessions.remove(key);
        }
        Ok(())
    }

    fn flow_counters(&self) -> Result<FlowCounters, DataplaneError> {
        Ok(self.tables.recorder.borrow().counters)
    }

    fn verdicts(&self) -> Result<BTreeMap<u8, u64>, DataplaneError> {
        Ok(self.tables.verdicts.borrow().clone())
    }
}
