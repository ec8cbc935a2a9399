//! A dataplane of the test's own, filled with the fixtures' world.

use super::{extras, routes};
use anyhow::{Context as _, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::abi::{
    ABI_VERSION, BackendCounters, BackendFlags, BackendIdentity, FlowKey, FlowValue, Recording,
    ServiceCounters, Settings, address, names,
};
use lb_common::hash::HashKey;
use lb_tests::fixtures::{CAPACITY, Counted, Family, Fixture, Service, World, snat};
use lb_userspace::dataplane::kernel::{KernelConfig, KernelDataplane, Layout, LogLevel, remove};
use lb_userspace::dataplane::{Capacity, Dataplane as _, Op};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Room for what forwarding adds to a frame.
const GROWTH_BYTES: usize = 64;

/// Runs `test` in a thread with network and mount namespaces of its own, which vanish with the thread.
///
/// # Panics
/// When the test fails, or without root.
pub fn in_own_namespaces(test: impl FnOnce() -> anyhow::Result<()> + Send) {
    assert!(rustix::process::geteuid().is_root(), "the kernel tier needs root: run it as root or with sudo");
    let result = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                own_namespaces()?;
                test()
            })
            .join()
    });
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{error:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Gives the calling thread network and mount namespaces of its own.
pub fn own_namespaces() -> anyhow::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: of the flags that can break other threads (shared file descriptors) none is given; CLONE_NEWNS gives
    // this thread a file system context of its own, which is what is wanted.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.context("making namespaces")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("keeping mounts to this thread")
}

/// Pins that are removed at the end, also when the test panics.
pub struct Pinned(pub PathBuf);

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

/// A pin directory that nobody else has.
pub fn pin_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/sys/fs/bpf/lb-test-{}-{number}", std::process::id()))
}

/// What a test run did.
pub struct Outcome {
    /// XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Counters that concern a fixture.
pub struct Counters {
    /// Packets by verdict number.
    pub verdicts: BTreeMap<u8, u64>,
    /// Of the fixture's service.
    pub service: ServiceCounters,
    /// Of the fixture's backend.
    pub backend: BackendCounters,
}

/// The loaded program over maps that hold the fixtures' world.
pub struct Bed {
    /// The loaded program.
    pub dataplane: KernelDataplane,
    /// Where its maps are pinned.
    pub pinned: Pinned,
    world: World,
    recording: Recording,
    answers: bool,
    layout: Layout,
}

impl Bed {
    /// Sets up routes and loads the program, in namespaces of the caller's own.
    pub fn new(log_level: LogLevel) -> anyhow::Result<Self> {
        Self::sized(log_level, CAPACITY, None)
    }

    /// The same with room for so many flows and sessions, and the hash key given instead of a random one.
    pub fn sized(log_level: LogLevel, flows: u32, key: Option<HashKey>) -> anyhow::Result<Self> {
        let bpffs = pin_directory();
        let pinned = Pinned(bpffs.clone());
        let (services, backends, slots) = (CAPACITY, CAPACITY, CAPACITY);
        let capacity = Capacity { services, backends, slots, flows, sessions: flows };
        let config = KernelConfig { bpffs, capacity, log_level };
        if let Some(key) = key {
            drop(KernelDataplane::open(&config)?);
            write_key(&pinned.0, key)?;
        }
        let mut dataplane = KernelDataplane::open(&config)?;
        if let [(program, reason), ..] = dataplane.refused() {
            anyhow::bail!("the kernel refused {program}: {reason}");
        }
        let [key_0, key_1] = dataplane.observe()?.settings.hash_key;
        let world = World::new(HashKey(key_0, key_1));
        routes::set_up(&world)?;
        for op in operations(&world)? {
            dataplane.apply(&op)?;
        }
        remember(&pinned.0, &world)?;
        extras::fill(&pinned.0, &world)?;
        extras::set_answers(&pinned.0, true)?;
        Ok(Self { dataplane, pinned, world, recording: Recording::All, answers: true, layout: Layout::Whole })
    }

    /// The world in the maps.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Allows redirects to an interface.
    pub fn allow_redirects_to(&mut self, ifindex: u32) -> anyhow::Result<()> {
        Ok(self.dataplane.apply(&Op::PutDevice(ifindex))?)
    }

    /// Runs the programs for packets in several pieces from now on.
    pub const fn in_pieces(&mut self) {
        self.layout = Layout::Pieces;
    }

    /// Sets what may be recorded.
    pub fn record(&mut self, recording: Recording) -> anyhow::Result<()> {
        if self.recording != recording {
            self.dataplane.apply(&Op::SetRecording(recording))?;
            self.recording = recording;
        }
        Ok(())
    }

    /// Sets whether the node may send answers of its own.
    pub fn answer(&mut self, answers: bool) -> anyhow::Result<()> {
        if self.answers != answers {
            extras::set_answers(&self.pinned.0, answers)?;
            self.answers = answers;
        }
        Ok(())
    }

    /// Takes every frontend of a service away.
    pub fn delete(&mut self, service: Service) -> anyhow::Result<()> {
        let port = service.port().to_be();
        for key in self.world.services.keys().filter(|key| key.port == port) {
            self.dataplane.apply(&Op::DeleteService(*key))?;
        }
        Ok(())
    }

    /// Runs the program once over `frame`.
    pub fn run(&mut self, frame: &[u8]) -> anyhow::Result<Outcome> {
        let mut out = vec![0; frame.len() + GROWTH_BYTES];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = self.dataplane.program(self.layout)?.test_run(options)?;
        let length = usize::try_from(result.data_size_out)?;
        ensure!(length <= out.len(), "the frame grew to {length} bytes");
        out.truncate(length);
        Ok(Outcome { action: result.return_value, frame: out })
    }

    /// The counters that a fixture may change.
    pub fn counters(&self, fixture: &Fixture) -> anyhow::Result<Counters> {
        let (service, backend) = match fixture.counted {
            Counted::Nothing => (ServiceCounters::default(), BackendCounters::default()),
            Counted::Request { service, backend, .. } | Counted::Reply { service, backend, .. } => {
                (self.dataplane.service_counters(service)?, self.dataplane.backend_counters(backend)?)
            }
        };
        Ok(Counters { verdicts: self.dataplane.verdicts()?, service, backend })
    }

    /// Checks, after all `fixtures`, that the sum of every counter is theirs.
    pub fn nothing_else_was_counted(&self, fixtures: &[Fixture]) -> anyhow::Result<()> {
        let (mut services, mut backends) = (BTreeSet::new(), BTreeSet::new());
        for fixture in fixtures {
            if let Counted::Request { service, backend, .. } | Counted::Reply { service, backend, .. } =
                fixture.counted
            {
                services.insert(service);
                backends.insert(backend);
            }
        }
        for index in (0..CAPACITY).filter(|index| !services.contains(index)) {
            let counters = self.dataplane.service_counters(index)?;
            ensure!(counters == ServiceCounters::default(), "service {index}: {counters:?}");
        }
        for index in (0..CAPACITY).filter(|index| !backends.contains(index)) {
            let counters = self.dataplane.backend_counters(index)?;
            ensure!(counters == BackendCounters::default(), "backend {index}: {counters:?}");
        }
        Ok(())
    }
}

/// The settings, as aya takes them.
type SettingsWords = [u64; size_of::<Settings>() / 8];

/// Writes a hash key into the pinned settings; who opens the dataplane over them takes it on.
fn write_key(bpffs: &Path, HashKey(first, second): HashKey) -> anyhow::Result<()> {
    let pin = bpffs.join(format!("v{ABI_VERSION}")).join(names::SETTINGS);
    let mut array: Array<MapData, SettingsWords> = Map::Array(MapData::from_pin(pin)?).try_into()?;
    let former: Settings = bytemuck::cast(array.get(&0, 0)?);
    let settings = Settings { hash_key: [first, second], ..former };
    Ok(array.set(0, bytemuck::cast::<Settings, SettingsWords>(settings), 0)?)
}

/// A flow's key and value, as aya takes them.
type KeyWords = [u64; size_of::<FlowKey>() / 8];
type ValueWords = [u64; size_of::<FlowValue>() / 8];

/// Puts the world's flows into the flow table, which only the datapath does otherwise.
fn remember(bpffs: &Path, world: &World) -> anyhow::Result<()> {
    let pin = bpffs.join(format!("v{ABI_VERSION}")).join(names::FLOWS);
    let mut flows: HashMap<MapData, KeyWords, ValueWords> =
        Map::LruHashMap(MapData::from_pin(pin)?).try_into()?;
    for (key, value) in &world.flows {
        flows.insert(
            bytemuck::cast::<FlowKey, KeyWords>(*key),
            bytemuck::cast::<FlowValue, ValueWords>(*value),
            0,
        )?;
    }
    Ok(())
}

/// What puts the world into the maps.
fn operations(world: &World) -> anyhow::Result<Vec<Op>> {
    ensure!(world.slots.len() < CAPACITY as usize, "the world's slots fit its maps");
    ensure!(world.backends.len() < CAPACITY as usize, "the world's backends fit its maps");
    let mut operations = vec![Op::WriteSlots { offset: 0, slots: world.slots.clone() }];
    for (index, backend) in (0..).zip(&world.backends) {
        if backend.flags & BackendFlags::VALID != 0 {
            let identity = BackendIdentity { identity: u64::from(index) + 1 };
            operations.push(Op::PutBackend { index, identity, backend: *backend });
        }
    }
    let snat = [Family::V4, Family::V6].map(|family| address(snat(family)));
    operations.extend((0..).zip(snat).map(|(index, address)| Op::PutSnat { index, address }));
    operations.extend(world.reverse.iter().map(|(key, value)| Op::PutReverse(*key, *value)));
    operations.push(Op::SetReverseEntries(u32::try_from(world.reverse.len())?));
    operations.extend(world.services.iter().map(|(key, value)| Op::PutService(*key, *value)));
    Ok(operations)
}
