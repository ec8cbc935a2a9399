//! A dataplane in memory: the pipeline's tables behind the operations, for tests and simulation.

use super::{Capacity, Dataplane, DataplaneError, Observed, Op, Region};
use lb_common::abi::{
    BackendCounters, BackendIdentity, FlowCounters, FlowKey, FlowValue, ServiceCounters, Settings, Slot,
    names,
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
        tables.flows.get_mut().capacity = capacity.flows as usize;
        tables.settings = Settings {
            hash_key: [hash_key.0, hash_key.1],
            record_rates: capacity.record_rates(1),
            ..Settings::default()
        };
        Self { tables, capacity, identities: BTreeMap::new(), devices: BTreeSet::new() }
    }
}

impl Dataplane for FakeDataplane {
    fn observe(&self) -> Result<Observed, DataplaneError> {
        let backends = self.identities.iter().filter_map(|(index, identity)| {
            let backend = self.tables.backends.get(*index as usize)?;
            Some((*index, (*identity, *backend)))
        });
        let tables = self.tables.services.values().filter(|value| value.slot_count > 0).filter_map(|value| {
            let start = value.slot_offset as usize;
            let slots = self.tables.slots.get(start..start + value.slot_count as usize)?;
            Some((Region::of(value), slots.to_vec()))
        });
        Ok(Observed {
            capacity: self.capacity,
            settings: self.tables.settings,
            services: self.tables.services.clone(),
            reverse: self.tables.reverse.clone(),
            backends: backends.collect(),
            tables: tables.collect(),
            devices: self.devices.clone(),
            links: self.tables.links.clone(),
        })
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
            Op::PutService(key, value) => {
                let capacity = self.capacity.services;
                if !self.tables.services.contains_key(key) && self.tables.services.len() >= capacity as usize
                {
                    return Err(DataplaneError::Full { map: names::SERVICES, capacity });
                }
                self.tables.services.insert(*key, *value);
            }
            Op::DeleteService(key) => {
                self.tables.services.remove(key);
            }
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

    fn flow_counters(&self) -> Result<FlowCounters, DataplaneError> {
        Ok(self.tables.recorder.borrow().counters)
    }

    fn verdicts(&self) -> Result<BTreeMap<u8, u64>, DataplaneError> {
        Ok(self.tables.verdicts.borrow().clone())
    }
}
