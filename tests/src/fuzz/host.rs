//! The host's side: the decision core over tables in memory.
//!
//! Imports `fib`, `fixtures`, `subject` and lb-common.

use super::epoch::Setting;
use super::fib::Fib;
use super::subject::{Reaction, Subject, Totals, counted};
use crate::fixtures::{INGRESS, World};
use anyhow::Result;
use lb_common::abi::{ANSWER_KINDS, FragmentValue, RECORD_KINDS, RecordRate, Settings};
use lb_common::pipeline::{Verdict, process};
use lb_common::tables::MemTables;
use lb_common::wire::BufferPacket;

/// Flows that the flow table has room for: so many that the kernel's LRU, which begins to throw out before it is full,
/// throws none out in an epoch.
pub const FLOWS: u32 = 1 << 17;

/// Takes time out of the settings, and a setting on: budgets refuse nobody, since they are filled up with every packet, or,
/// where nothing may be answered, everybody.
pub fn timeless(settings: Settings, setting: Setting) -> Settings {
    let endless = RecordRate { per_second: u32::MAX, burst: u32::MAX };
    let answer_rate = if setting.answers { endless } else { RecordRate::default() };
    Settings {
        record_rates: [endless; RECORD_KINDS],
        answer_rates: [answer_rate; ANSWER_KINDS],
        recording: setting.recording as u32,
        ..settings
    }
}

/// What is remembered of a datagram in fragments, without the time.
pub fn without_time(value: FragmentValue) -> FragmentValue {
    FragmentValue { seen_ms: 0, ..value }
}

/// The clock that the kernel's side reads, in milliseconds.
fn kernel_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let number = |part: i64| u64::try_from(part).unwrap_or(0);
    number(now.tv_sec) * 1_000 + number(now.tv_nsec) / 1_000_000
}

/// XDP actions (`enum xdp_action`, include/uapi/linux/bpf.h).
pub const fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Drop(_) => 1,
        Verdict::Pass(_) => 2,
        Verdict::Transmit(_) => 3,
        Verdict::Redirect(..) => 4,
    }
}

/// The decision core over a world's tables.
#[derive(Debug)]
pub struct Host {
    world: World,
    tables: MemTables,
}

impl Host {
    /// Over a world of the kernel's hash key.
    pub fn new(world: &World) -> Self {
        Self { world: world.clone(), tables: tables(world, Setting::default()) }
    }

    /// Its world.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Forgets all packets.
    pub fn reset(&mut self, setting: Setting) {
        self.tables = tables(&self.world, setting);
    }

    /// Runs one packet; `out` becomes the frame afterwards.
    pub fn run(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Verdict {
        // Where a session's port is taken, the next one depends on the second.
        self.tables.now_ms.set(kernel_ms());
        let mut packet = BufferPacket::new(frame, INGRESS);
        let verdict = process(&mut packet, &self.tables);
        out.clear();
        out.extend_from_slice(packet.frame());
        verdict
    }

    /// What all packets since the reset left behind.
    pub fn totals(&self) -> Totals {
        let tables = &self.tables;
        let flows = tables.flows.borrow();
        Totals {
            verdicts: tables.verdicts.borrow().clone(),
            services: counted(tables.service_counters.borrow().iter().map(|(index, it)| (*index, *it))),
            backends: counted(tables.backend_counters.borrow().iter().map(|(index, it)| (*index, *it))),
            flows: flows.iter().map(|(key, flow)| (*key, (flow.backend(), flow.state() as u32))).collect(),
            recorder: tables.recorder.borrow().counters,
            fragments: tables.fragments.borrow().iter().map(|(key, it)| (*key, without_time(**it))).collect(),
            sessions: tables
                .sessions
                .borrow()
                .iter()
                .map(|(key, cell)| (*key, (cell.way, cell.seen().state() as u32)))
                .collect(),
        }
    }
}

fn tables(world: &World, setting: Setting) -> MemTables {
    let mut tables = world.tables(setting.recording, setting.answers);
    tables.settings = timeless(tables.settings, setting);
    tables.flows.get_mut().capacity = FLOWS as usize;
    tables.router = Some(Box::new(Fib::new(world)));
    tables
}

/// What a [`Mirror`] does to the frame and the reaction.
type Plant = Box<dyn FnMut(&mut Vec<u8>, &mut Reaction)>;

/// A second host in the kernel's place, with a fault planted in it: shows that faults are found, without root.
pub struct Mirror {
    host: Host,
    plant: Plant,
}

impl Mirror {
    /// Over the same world; `plant` may change what comes out.
    pub fn new(world: &World, plant: impl FnMut(&mut Vec<u8>, &mut Reaction) + 'static) -> Self {
        Self { host: Host::new(world), plant: Box::new(plant) }
    }
}

impl Subject for Mirror {
    fn reset(&mut self, setting: Setting) -> Result<()> {
        self.host.reset(setting);
        Ok(())
    }

    fn run(&mut self, frame: &[u8], _guess: u8, out: &mut Vec<u8>) -> Result<Reaction> {
        let verdict = self.host.run(frame, out);
        let mut reaction = Reaction { action: action(verdict), number: Some(verdict.number()) };
        (self.plant)(out, &mut reaction);
        Ok(reaction)
    }

    fn totals(&mut self) -> Result<Totals> {
        Ok(self.host.totals())
    }
}
