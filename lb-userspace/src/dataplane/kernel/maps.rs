//! The maps, typed, and the operations on them.

use super::super::op::{address_key, is_address};
use super::super::{Backends, Capacity, Dataplane, DataplaneError, Observed, Op, Region, SessionPage};
use super::flows::{Batch, Flows};
use super::mmap::MappedArray;
use super::places::{Entry, PlaceTable};
use super::prefixes::PrefixTable;
use super::{KernelDataplane, KernelError};
use aya::Ebpf;
use aya::maps::{Array, DevMapHash, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use bytemuck::Zeroable;
use lb_common::abi::{
    Address, Backend, BackendCounters, BackendFlags, BackendIdentity, FlowCounters, FlowKey, FlowValue, Link,
    NetworkValue, PortsKey, RangeValue, Recorder, ReverseEntry, ReverseRangeValue, SNAT_ADDRESSES,
    ServiceCounters, ServiceEntry, ServiceValue, Session, Settings, Slot, TrafficCounters, VERDICT_NUMBERS,
    names, place,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Wait where the kernel has no `membarrier`: far longer than a packet takes through the program.
const READERS_WAIT: Duration = Duration::from_millis(100);

/// Entries of sessions that are read at once: few, as each is looked up in the other direction too before anybody else gets at
/// the maps.
const SESSIONS_AT_ONCE: u32 = 1_024;

/// A type of the map ABI, as aya wants it.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub T);

// SAFETY: a transparent wrapper of a type that bytemuck holds for plain old data.
unsafe impl<T: bytemuck::Pod> aya::Pod for Raw<T> {}

/// All maps.
pub(super) struct Maps {
    capacity: Capacity,
    services: PlaceTable<ServiceEntry>,
    ranges: PrefixTable<PortsKey, RangeValue>,
    networks: PrefixTable<Address, NetworkValue>,
    reverse: PlaceTable<ReverseEntry>,
    reverse_ranges: PrefixTable<PortsKey, ReverseRangeValue>,
    snat: MappedArray<Address>,
    slots: MappedArray<Slot>,
    backends: MappedArray<Backend>,
    identities: MappedArray<BackendIdentity>,
    service_counters: PerCpuArray<MapData, Raw<ServiceCounters>>,
    backend_counters: PerCpuArray<MapData, Raw<BackendCounters>>,
    verdicts: PerCpuArray<MapData, u64>,
    devices: DevMapHash<MapData>,
    links: HashMap<MapData, u32, Raw<Link>>,
    settings: Array<MapData, Raw<Settings>>,
    flows: Flows<FlowValue>,
    sessions: Flows<Session>,
    recorder: PerCpuArray<MapData, Raw<Recorder>>,
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Incomplete(name))?;
    T::try_from(map).map_err(|source| DataplaneError::Map { action: "use", map: name, source }.into())
}

fn take_mapped<T: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    entries: u32,
) -> Result<MappedArray<T>, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(MappedArray::new(std::os::fd::AsFd::as_fd(data.fd()), entries, name)?),
        _ => Err(KernelError::Incomplete(name)),
    }
}

fn take_places<E: Entry>(
    ebpf: &mut Ebpf,
    name: &'static str,
    capacity: u32,
) -> Result<PlaceTable<E>, KernelError> {
    let array = take_mapped(ebpf, name, place::places(capacity))?;
    Ok(PlaceTable::new(array, name, capacity)?)
}

fn take_flows<V: bytemuck::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Flows<V>, KernelError> {
    match ebpf.take_map(name) {
        Some(Map::LruHashMap(data) | Map::HashMap(data)) => Ok(Flows::new(data)),
        _ => Err(KernelError::Incomplete(name)),
    }
}

fn take_prefixes<K: bytemuck::Pod, V: bytemuck::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    capacity: u32,
) -> Result<PrefixTable<K, V>, KernelError> {
    Ok(PrefixTable::new(take(ebpf, name)?, name, capacity))
}

pub(super) fn refused(action: &'static str, map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { action, map, source }
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf, capacity: Capacity) -> Result<Self, KernelError> {
        Ok(Self {
            capacity,
            services: take_places(ebpf, names::SERVICES, capacity.service_keys())?,
            ranges: take_prefixes(ebpf, names::RANGES, capacity.ranges())?,
            networks: take_prefixes(ebpf, names::NETWORKS, capacity.services)?,
            reverse: take_places(ebpf, names::REVERSE, capacity.reverse())?,
            reverse_ranges: take_prefixes(ebpf, names::REVERSE_RANGES, capacity.reverse_ranges())?,
            snat: take_mapped(ebpf, names::SNAT, SNAT_ADDRESSES)?,
            slots: take_mapped(ebpf, names::SLOTS, capacity.slots)?,
            backends: take_mapped(ebpf, names::BACKENDS, capacity.backends)?,
            identities: take_mapped(ebpf, names::IDENTITIES, capacity.backends)?,
            service_counters: take(ebpf, names::SERVICE_COUNTERS)?,
            backend_counters: take(ebpf, names::BACKEND_COUNTERS)?,
            verdicts: take(ebpf, names::VERDICTS)?,
            devices: take(ebpf, names::DEVICES)?,
            links: take(ebpf, names::LINKS)?,
            settings: take(ebpf, names::SETTINGS)?,
            flows: take_flows(ebpf, names::FLOWS)?,
            sessions: take_flows(ebpf, names::SESSIONS)?,
            recorder: take(ebpf, names::RECORDER)?,
        })
    }

    pub(super) fn write_settings(&mut self, settings: &Settings) -> Result<(), DataplaneError> {
        self.settings.set(0, Raw(*settings), 0).map_err(refused("write to", names::SETTINGS))
    }

    fn read_settings(&self) -> Result<Settings, DataplaneError> {
        let Raw(settings) = self.settings.get(&0, 0).map_err(refused("read", names::SETTINGS))?;
        Ok(settings)
    }

    /// Addresses to send from, those that are not zero.
    fn snat_addresses(&self) -> Result<BTreeMap<u32, Address>, DataplaneError> {
        let mut addresses = BTreeMap::new();
        for index in 0..self.snat.entries() {
            let address = self.snat.read(index)?;
            if address != [0; 4] {
                addresses.insert(index, address);
            }
        }
        Ok(addresses)
    }

    /// Replaces a backend. While its words change, the entry says that it is not resolved, so that a packet takes
    /// the kernel's FIB instead of a mixture of two next hops.
    fn put_backend(
        &self,
        index: u32,
        identity: BackendIdentity,
        backend: &Backend,
    ) -> Result<(), DataplaneError> {
        let mut between = self.backends.read(index)?;
        if between.flags & BackendFlags::VALID != 0 && between != *backend {
            between.flags &= !BackendFlags::RESOLVED;
            self.backends.write(index, &between)?;
        }
        let unresolved = Backend { flags: backend.flags & !BackendFlags::RESOLVED, ..*backend };
        self.backends.write(index, &unresolved)?;
        self.identities.write(index, &identity)?;
        self.backends.write(index, backend)
    }
}

/// Waits until every program run that began before has ended: `MEMBARRIER_CMD_GLOBAL` is a `synchronize_rcu`.
pub(super) fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes two plain numbers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if result != 0 {
        std::thread::sleep(READERS_WAIT);
    }
}

impl Dataplane for KernelDataplane {
    fn observe(&self) -> Result<Observed, DataplaneError> {
        let maps = &self.maps;
        let (addresses, services): (Vec<_>, Vec<_>) =
            maps.services.entries()?.into_iter().partition(|(key, _)| is_address(key));
        let services: BTreeMap<_, _> = services.into_iter().collect();
        let ranges = maps.ranges.entries()?;
        let reverse = maps.reverse.entries()?.into_iter().collect();
        let mut tables = BTreeMap::new();
        let frontends = services.values().chain(ranges.values());
        for value in frontends.filter(|value| value.slot_count > 0) {
            let region = Region::of(value);
            if let std::collections::btree_map::Entry::Vacant(entry) = tables.entry(region) {
                let slots = (0..region.count).map(|at| maps.slots.read(region.offset.saturating_add(at)));
                entry.insert(slots.collect::<Result<Vec<Slot>, _>>()?);
            }
        }
        let devices: Result<_, MapError> = maps.devices.keys().collect();
        let links = maps.links.iter().map(|entry| entry.map(|(ifindex, Raw(link))| (ifindex, link)));
        let links: Result<_, MapError> = links.collect();
        Ok(Observed {
            capacity: maps.capacity,
            settings: maps.read_settings()?,
            services,
            addresses: addresses.into_iter().map(|(key, value)| (key.address, value.index)).collect(),
            ranges,
            networks: maps.networks.entries()?,
            reverse,
            reverse_ranges: maps.reverse_ranges.entries()?,
            snat: maps.snat_addresses()?,
            backends: self.backends()?,
            tables,
            devices: devices.map_err(refused("read", names::DEVICES))?,
            links: links.map_err(refused("read", names::LINKS))?,
        })
    }

    fn settings(&self) -> Result<Settings, DataplaneError> {
        self.maps.read_settings()
    }

    fn backends(&self) -> Result<Backends, DataplaneError> {
        let maps = &self.maps;
        let mut backends = Backends::new();
        for index in 0..maps.identities.entries() {
            let identity = maps.identities.read(index)?;
            if identity.identity != 0 {
                backends.insert(index, (identity, maps.backends.read(index)?));
            }
        }
        Ok(backends)
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        let maps = &mut self.maps;
        match op {
            Op::PutDevice(ifindex) => maps.devices.insert(*ifindex, *ifindex, None, 0).map_err(|source| {
                DataplaneError::Map { action: "write to", map: names::DEVICES, source: map_error(source) }
            }),
            Op::PutLink(ifindex, link) => {
                maps.links.insert(*ifindex, Raw(*link), 0).map_err(refused("write to", names::LINKS))
            }
            Op::DeleteLink(ifindex) => match maps.links.remove(ifindex) {
                Err(MapError::KeyNotFound) => Ok(()),
                result => result.map_err(refused("write to", names::LINKS)),
            },
            Op::PutBackend { index, identity, backend } => maps.put_backend(*index, *identity, backend),
            Op::ResetBackendCounters(index) => {
                reset(&mut maps.backend_counters, *index, names::BACKEND_COUNTERS)
            }
            Op::ResetServiceCounters(index) => {
                reset(&mut maps.service_counters, *index, names::SERVICE_COUNTERS)
            }
            Op::WriteSlots { offset, slots } => {
                for (at, slot) in (*offset..).zip(slots) {
                    // The lines of slots that stay as they are stay in every CPU's cache.
                    if maps.slots.read(at)? != *slot {
                        maps.slots.write(at, slot)?;
                    }
                }
                Ok(())
            }
            Op::PutReverse(key, value) => maps.reverse.put(*key, *value, wait_for_readers),
            Op::DeleteReverse(key) => maps.reverse.delete(key),
            Op::SetReverseEntries(entries) => {
                let settings = Settings { reverse_entries: *entries, ..maps.read_settings()? };
                maps.write_settings(&settings)
            }
            Op::PutService(key, value) => maps.services.put(*key, *value, wait_for_readers),
            Op::DeleteService(key) => maps.services.delete(key),
            Op::PutAddress(address, flags) => {
                let value = ServiceValue::of_address(*flags);
                maps.services.put(address_key(*address), value, wait_for_readers)
            }
            Op::DeleteAddress(address) => maps.services.delete(&address_key(*address)),
            Op::PutRange(prefix, value) => maps.ranges.put(prefix, value),
            Op::DeleteRange(prefix) => maps.ranges.delete(prefix),
            Op::PutNetwork(prefix, value) => maps.networks.put(prefix, value),
            Op::DeleteNetwork(prefix) => maps.networks.delete(prefix),
            Op::PutReverseRange(prefix, value) => maps.reverse_ranges.put(prefix, value),
            Op::DeleteReverseRange(prefix) => maps.reverse_ranges.delete(prefix),
            Op::PutSnat { index, address } => maps.snat.write(*index, address),
            Op::SetLookups(lookups) => {
                let settings = Settings { lookups: *lookups, ..maps.read_settings()? };
                maps.write_settings(&settings)
            }
            Op::WaitForReaders => {
                wait_for_readers();
                Ok(())
            }
            Op::SetRecording(recording) => {
                let settings = Settings { recording: *recording as u32, ..maps.read_settings()? };
                maps.write_settings(&settings)
            }
            Op::ClearBackend(index) => {
                maps.identities.write(*index, &BackendIdentity::default())?;
                maps.backends.write(*index, &Backend::zeroed())
            }
        }
    }

    fn service_counters(&self, index: u32) -> Result<ServiceCounters, DataplaneError> {
        sum(&self.maps.service_counters, index, names::SERVICE_COUNTERS)
    }

    fn backend_counters(&self, index: u32) -> Result<BackendCounters, DataplaneError> {
        sum(&self.maps.backend_counters, index, names::BACKEND_COUNTERS)
    }

    fn sweep_flows(
        &mut self,
        is_over: &mut dyn FnMut(&FlowKey, FlowValue) -> bool,
    ) -> Result<(), DataplaneError> {
        self.maps.flows.sweep(&mut |key, value| is_over(key, *value))
    }

    fn sessions_from(&self, position: Option<u32>) -> Result<SessionPage, DataplaneError> {
        let mut entries = Vec::new();
        let mut batch = Batch::new(SESSIONS_AT_ONCE);
        let next = self.maps.sessions.read(position, &mut batch)?;
        entries.extend(batch.entries().map(|(key, session)| (*key, *session)));
        Ok(SessionPage { entries, next })
    }

    fn session(&self, key: &FlowKey) -> Result<Option<Session>, DataplaneError> {
        self.maps.sessions.find(key)
    }

    fn forget_sessions(&mut self, keys: &[FlowKey]) -> Result<(), DataplaneError> {
        self.maps.sessions.delete(keys)
    }

    fn flow_counters(&self) -> Result<FlowCounters, DataplaneError> {
        let values = self.maps.recorder.get(&0, 0).map_err(refused("read", names::RECORDER))?;
        Ok(values.iter().fold(FlowCounters::default(), |sum, Raw(value)| sum.plus(value.counters)))
    }

    fn verdicts(&self) -> Result<BTreeMap<u8, u64>, DataplaneError> {
        let mut verdicts = BTreeMap::new();
        for number in 0..VERDICT_NUMBERS {
            let values = self.maps.verdicts.get(&number, 0).map_err(refused("read", names::VERDICTS))?;
            let packets: u64 = values.iter().sum();
            if let (Ok(number), true) = (u8::try_from(number), packets > 0) {
                verdicts.insert(number, packets);
            }
        }
        Ok(verdicts)
    }
}

/// Counters of an index, summed over CPUs.
fn sum(
    map: &PerCpuArray<MapData, Raw<TrafficCounters>>,
    index: u32,
    name: &'static str,
) -> Result<TrafficCounters, DataplaneError> {
    let values = map.get(&index, 0).map_err(refused("read", name))?;
    Ok(values.iter().fold(TrafficCounters::default(), |sum, Raw(value)| sum.plus(*value)))
}

fn map_error(error: aya::maps::xdp::XdpMapError) -> MapError {
    match error {
        aya::maps::xdp::XdpMapError::MapError(error) => error,
        aya::maps::xdp::XdpMapError::ChainedProgramNotSupported => MapError::KeyNotFound,
    }
}

fn reset<T: bytemuck::Pod>(
    map: &mut PerCpuArray<MapData, Raw<T>>,
    index: u32,
    name: &'static str,
) -> Result<(), DataplaneError> {
    let cpus = aya::util::nr_cpus().map_err(|(call, source)| DataplaneError::System { call, source })?;
    let zeros = PerCpuValues::try_from(vec![Raw(T::zeroed()); cpus])
        .map_err(|source| DataplaneError::System { call: "counting CPUs", source })?;
    map.set(index, zeros, 0).map_err(refused("write to", name))
}
