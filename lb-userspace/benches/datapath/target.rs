//! The program under test: any build of the datapath's object, over maps of its own that nobody pins.
//!
//! Maps are filled word by word, so that an older object, whose maps are fewer or smaller, can be measured beside the
//! present one.

use anyhow::Context as _;
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use bytemuck::{AnyBitPattern, NoUninit};
use lb_common::abi::{
    Backend, FlowKey, RecordRate, ServiceEntry, ServiceKey, ServiceValue, Session, Settings, Slot, names,
    place,
};

/// Frontends that there is room for.
const SERVICES: u32 = 64;
/// Backends that there is room for.
const BACKENDS: u32 = 1_024;
/// Slots that there is room for.
const SLOTS: u32 = 131_072;
/// Flows that there is room for: twice as many as are measured, as the kernel's table evicts before it is full.
const FLOWS: u32 = 1 << 20;

/// The program and its maps.
pub struct Target {
    ebpf: Ebpf,
    /// Keeps the programs behind the first one.
    _stages: Option<ProgramArray<MapData>>,
}

/// Loads the programs behind the first one, where the object has any.
fn load_stages(ebpf: &mut Ebpf) -> anyhow::Result<Option<ProgramArray<MapData>>> {
    let Some(map) = ebpf.take_map(names::STAGES) else { return Ok(None) };
    let mut stages = ProgramArray::try_from(map)?;
    for (number, name) in (0..).zip(names::STAGE_PROGRAMS) {
        let program: &mut Xdp = ebpf.program_mut(name).context("a stage is missing")?.try_into()?;
        program.load()?;
        stages.set(number, program.fd()?, 0)?;
    }
    Ok(Some(stages))
}

impl Target {
    /// Loads `object`.
    pub fn load(object: &[u8]) -> anyhow::Result<Self> {
        let service_mask = place::places(SERVICES) - 1;
        let reverse_mask = place::places(BACKENDS) - 1;
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::HASH_KEY_0, &0x0123_4567_89ab_cdef_u64, true)
            .override_global(names::HASH_KEY_1, &0xfeed_beef_dead_cafe_u64, true)
            .override_global(names::SERVICE_MASK, &service_mask, true)
            .override_global(names::REVERSE_MASK, &reverse_mask, true)
            .override_global(aya_log::LEVEL, &0_u8, false);
        let sizes = [
            (names::SERVICES, service_mask + 1),
            (names::REVERSE, reverse_mask + 1),
            (names::SLOTS, SLOTS),
            (names::BACKENDS, BACKENDS),
            (names::IDENTITIES, BACKENDS),
            (names::SERVICE_COUNTERS, SERVICES),
            (names::BACKEND_COUNTERS, BACKENDS),
            (names::FLOWS, FLOWS),
            (names::SESSIONS, FLOWS),
        ];
        for (name, entries) in sizes {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = loader.load(object)?;
        let program: &mut Xdp = ebpf.program_mut(names::PROGRAM).context("no program")?.try_into()?;
        program.load()?;
        let stages = load_stages(&mut ebpf)?;
        Ok(Self { ebpf, _stages: stages })
    }

    /// The loaded program.
    pub fn fd(&mut self) -> anyhow::Result<ProgramFd> {
        let program: &mut Xdp = self.ebpf.program_mut(names::PROGRAM).context("no program")?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Makes `slots` the table of pool and service.
    pub fn put_slots(&mut self, slots: &[Slot]) -> anyhow::Result<()> {
        for (index, slot) in (0..).zip(slots) {
            self.put(names::SLOTS, index, *slot)?;
        }
        Ok(())
    }

    /// Writes a backend.
    pub fn put_backend(&mut self, index: u32, backend: Backend) -> anyhow::Result<()> {
        self.put(names::BACKENDS, index, backend)
    }

    /// Makes a frontend live; there may be one only.
    pub fn put_service(&mut self, key: ServiceKey, value: ServiceValue, v4: bool) -> anyhow::Result<()> {
        let entry = ServiceEntry { key, state: place::IN_USE, value, zero: [0; 3] };
        let word = place::port_and_protocol(key.port, key.protocol);
        let at = place::start(key.address, word, v4, place::places(SERVICES) - 1);
        self.put(names::SERVICES, at, entry)
    }

    /// Makes one direction of a session.
    pub fn put_session(&mut self, key: FlowKey, session: Session) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(names::SESSIONS).context("no sessions")?;
        let mut sessions: HashMap<&mut MapData, [u64; 5], [u64; 7]> = map.try_into()?;
        Ok(sessions.insert(bytemuck::cast::<_, [u64; 5]>(key), bytemuck::cast::<_, [u64; 7]>(session), 0)?)
    }

    /// Tells the program that there are reverse entries, and lets it record as it likes.
    pub fn put_settings(&mut self, reverse_entries: u32) -> anyhow::Result<()> {
        let rate = RecordRate { per_second: u32::MAX, burst: u32::MAX };
        let settings = Settings { reverse_entries, record_rates: [rate; 3], ..Settings::default() };
        self.put(names::SETTINGS, 0, settings)
    }

    /// Writes a value, or as much of it as the object's map has room for.
    fn put<T: NoUninit>(&mut self, name: &'static str, index: u32, value: T) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        let Map::Array(data) = map else { anyhow::bail!("{name} is no array") };
        let bytes = data.info()?.value_size() as usize;
        match bytes {
            8 => put_words::<1>(map, index, &value),
            24 => put_words::<3>(map, index, &value),
            56 => put_words::<7>(map, index, &value),
            64 => put_words::<8>(map, index, &value),
            72 => put_words::<9>(map, index, &value),
            96 => put_words::<12>(map, index, &value),
            _ => anyhow::bail!("{name} has values of {bytes} bytes"),
        }
    }
}

fn put_words<const N: usize>(map: &mut Map, index: u32, value: &impl NoUninit) -> anyhow::Result<()>
where
    [u64; N]: AnyBitPattern,
{
    let mut words = [0_u64; N];
    let bytes = bytemuck::bytes_of(value);
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into()?);
    }
    let mut array: Array<&mut MapData, [u64; N]> = map.try_into()?;
    Ok(array.set(index, words, 0)?)
}
