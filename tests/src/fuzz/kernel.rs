//! The kernel's side: the loaded program through `BPF_PROG_TEST_RUN`, and its maps.
//!
//! Imports `bpf`, `fixtures`, `state`, `subject` and lb-common. Always holds: it runs in the network namespace whose
//! routes are the world's, which is the calling thread's.

use super::LONGEST_BYTES;
use super::epoch::Setting;
use super::host::{timeless, without_time};
use super::state::{RawMap, STATE, reset};
use super::subject::{Reaction, Subject, Totals, counted};
use crate::bpf::test_run;
use crate::fixtures::World;
use anyhow::{Context as _, Result, ensure};
use bytemuck::{AnyBitPattern, NoUninit};
use lb_common::abi::{
    FlowCounters, FlowKey, FlowValue, FragmentKey, FragmentValue, Recorder, Session, SessionWay, Settings,
    TrafficCounters, VERDICT_NUMBERS, names,
};
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Room for what forwarding adds to a frame.
const GROWTH_BYTES: usize = 256;

/// The loaded program and its maps.
#[derive(Debug)]
pub struct Kernel {
    program: OwnedFd,
    state: Vec<RawMap>,
    flows: RawMap,
    fragments: RawMap,
    sessions: RawMap,
    settings: RawMap,
    verdicts: RawMap,
    services: RawMap,
    backends: RawMap,
    recorder: RawMap,
    /// Flows and sessions of the world, which a reset puts back.
    remembered: Vec<(FlowKey, FlowValue)>,
    opened: Vec<(FlowKey, Session)>,
    /// Packets by verdict number, as far as they were asked for.
    seen: [u64; VERDICT_NUMBERS as usize],
    /// Where frames are written, and a verdict's counters.
    frame: Vec<u8>,
    counter: Vec<u8>,
}

impl Kernel {
    /// Over a program, the directory with its pinned maps, and the world that is in them.
    ///
    /// # Errors
    /// When a map is missing.
    pub fn new(program: OwnedFd, pins: &Path, world: &World) -> Result<Self> {
        let open = |name: &str| RawMap::open(&pins.join(name));
        let verdicts = open(names::VERDICTS)?;
        Ok(Self {
            program,
            state: STATE.into_iter().map(open).collect::<Result<_>>()?,
            flows: open(names::FLOWS)?,
            fragments: open(names::FRAGMENTS)?,
            sessions: open(names::SESSIONS)?,
            settings: open(names::SETTINGS)?,
            services: open(names::SERVICE_COUNTERS)?,
            backends: open(names::BACKEND_COUNTERS)?,
            recorder: open(names::RECORDER)?,
            remembered: world.flows.clone(),
            opened: world.sessions.clone(),
            seen: [0; VERDICT_NUMBERS as usize],
            frame: vec![0; LONGEST_BYTES + GROWTH_BYTES],
            counter: verdicts.value(),
            verdicts,
        })
    }

    /// How often a verdict was counted.
    fn count(&mut self, number: u32) -> Result<u64> {
        self.verdicts.lookup(&number.to_ne_bytes(), &mut self.counter)?;
        Ok(per_cpu::<u64>(&self.counter).sum())
    }

    /// The one verdict that was counted since it was asked last.
    fn number(&mut self, guess: u8) -> Result<Option<u8>> {
        let mut found = None;
        let guessed = self.count(u32::from(guess))?;
        let seen = &mut self.seen[usize::from(guess)];
        if guessed == *seen + 1 {
            *seen = guessed;
            return Ok(Some(guess));
        }
        let mut more = 0;
        for number in 0..VERDICT_NUMBERS {
            let count = self.count(number)?;
            let new = count - std::mem::replace(&mut self.seen[number as usize], count);
            more += new;
            found = if new == 1 { u8::try_from(number).ok() } else { found };
        }
        Ok(found.filter(|_| more == 1))
    }

    /// Traffic counters by index.
    fn traffic(map: &RawMap) -> Result<BTreeMap<u32, TrafficCounters>> {
        let mut all = Vec::new();
        let mut value = map.value();
        for index in 0..map.entries() {
            map.lookup(&index.to_ne_bytes(), &mut value)?;
            let sum = per_cpu(&value).fold(TrafficCounters::default(), TrafficCounters::plus);
            all.push((index, sum));
        }
        Ok(counted(all))
    }

    fn all_fragments(&self) -> Result<BTreeMap<FragmentKey, FragmentValue>> {
        let all = self.fragments.read_all()?.into_iter();
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            (bytemuck::pod_read_unaligned(&key), without_time(bytemuck::pod_read_unaligned(&value)))
        };
        Ok(all.map(read).collect())
    }

    fn all_sessions(&self) -> Result<BTreeMap<FlowKey, (SessionWay, u32)>> {
        let all = self.sessions.read_all()?.into_iter();
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let session: Session = bytemuck::pod_read_unaligned(&value);
            (bytemuck::pod_read_unaligned(&key), (session.way, session.seen.state() as u32))
        };
        Ok(all.map(read).collect())
    }

    fn remember(&self) -> Result<()> {
        for (key, value) in &self.remembered {
            self.flows.update(bytes(key), &mut bytes(value).to_vec())?;
        }
        for (key, session) in &self.opened {
            self.sessions.update(bytes(key), &mut bytes(session).to_vec())?;
        }
        Ok(())
    }
}

/// The values of a per-CPU map's entry.
fn per_cpu<T: AnyBitPattern>(value: &[u8]) -> impl Iterator<Item = T> {
    value.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

fn bytes<T: NoUninit>(value: &T) -> &[u8] {
    bytemuck::bytes_of(value)
}

impl Subject for Kernel {
    fn reset(&mut self, setting: Setting) -> Result<()> {
        reset(&self.state)?;
        self.remember()?;
        self.seen.fill(0);
        let mut value = self.settings.value();
        ensure!(self.settings.lookup(&0_u32.to_ne_bytes(), &mut value)?, "the settings are there");
        let former: Settings = bytemuck::pod_read_unaligned(&value);
        value.copy_from_slice(bytes(&timeless(former, setting)));
        self.settings.update(&0_u32.to_ne_bytes(), &mut value)
    }

    fn run(&mut self, frame: &[u8], guess: u8, out: &mut Vec<u8>) -> Result<Reaction> {
        let (action, length) = test_run(self.program.as_fd(), frame, &mut self.frame)
            .with_context(|| format!("a test run of a frame of {} bytes", frame.len()))?;
        out.clear();
        out.extend_from_slice(self.frame.get(..length).unwrap_or_default());
        Ok(Reaction { action, number: self.number(guess)? })
    }

    fn totals(&mut self) -> Result<Totals> {
        let mut verdicts = BTreeMap::new();
        for number in 0..VERDICT_NUMBERS {
            let count = self.count(number)?;
            if count != 0 {
                verdicts.insert(u8::try_from(number)?, count);
            }
        }
        let mut flows = BTreeMap::new();
        for (key, value) in self.flows.read_all()? {
            let flow: FlowValue = bytemuck::pod_read_unaligned(&value);
            flows.insert(bytemuck::pod_read_unaligned(&key), (flow.backend(), flow.state() as u32));
        }
        let mut value = self.recorder.value();
        self.recorder.lookup(&0_u32.to_ne_bytes(), &mut value)?;
        let recorders = per_cpu::<Recorder>(&value).map(|recorder| recorder.counters);
        Ok(Totals {
            verdicts,
            services: Self::traffic(&self.services)?,
            backends: Self::traffic(&self.backends)?,
            flows,
            recorder: recorders.fold(FlowCounters::default(), FlowCounters::plus),
            fragments: self.all_fragments()?,
            sessions: self.all_sessions()?,
        })
    }
}
