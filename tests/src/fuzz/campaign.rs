//! A whole run: epochs shared among workers, figures, and the end at the first fault.
//!
//! Imports all of `fuzz`. Always holds: an epoch is run by one worker from its reset to its totals, and no epoch twice.

use super::corpus::Corpus;
use super::epoch::{EPOCH_INPUTS, Fault, Setting, Trial};
use super::generate::Generator;
use super::host::Host;
use super::report::{Summary, fault_text, name, read_fault};
use super::shrink::shrink;
use super::subject::Subject;
use super::values::Values;
use crate::fixtures::World;
use anyhow::{Context as _, Result};
use lb_common::abi::VERDICT_NUMBERS;
use lb_common::pipeline::Verdict;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a run ends that finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many inputs.
    Inputs(u64),
    /// After that time; the epochs that run then are run to their end.
    Time(Duration),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seed of the inputs.
    pub seed: u64,
    /// When to end.
    pub limit: Limit,
    /// Directory for the fault.
    pub directory: PathBuf,
}

/// A run that workers share.
pub struct Campaign {
    plan: Plan,
    corpus: Corpus,
    started: Instant,
    next_epoch: AtomicU64,
    inputs: AtomicU64,
    verdicts: [AtomicU64; VERDICT_NUMBERS as usize],
    over: AtomicBool,
    finished: AtomicBool,
    fault: Mutex<Option<PathBuf>>,
}

/// A fault, and where in its epoch.
struct Found {
    epoch: u64,
    setting: Setting,
    frames: Vec<Vec<u8>>,
    fault: Fault,
}

impl Campaign {
    /// A run that begins now.
    ///
    /// # Errors
    /// When the corpus cannot be read.
    pub fn new(plan: Plan) -> Result<Self> {
        Ok(Self {
            plan,
            corpus: Corpus::new()?,
            started: Instant::now(),
            next_epoch: AtomicU64::new(0),
            inputs: AtomicU64::new(0),
            verdicts: [const { AtomicU64::new(0) }; VERDICT_NUMBERS as usize],
            over: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            fault: Mutex::new(None),
        })
    }

    /// Inputs of an epoch; none behind the last.
    fn size(&self, epoch: u64) -> Option<u64> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        match self.plan.limit {
            Limit::Inputs(all) => {
                let left = all.saturating_sub(epoch * EPOCH_INPUTS).min(EPOCH_INPUTS);
                (left > 0).then_some(left)
            }
            Limit::Time(time) => (self.started.elapsed() < time).then_some(EPOCH_INPUTS),
        }
    }

    /// A worker: runs epochs until there are no more, or somebody found a fault.
    ///
    /// # Errors
    /// When a packet cannot be run, or a fault cannot be written down; that ends the other workers as well.
    pub fn work(&self, world: &World, subject: &mut impl Subject) -> Result<()> {
        let worked = self.work_on_epochs(world, subject);
        if worked.is_err() {
            self.over.store(true, Ordering::Relaxed);
        }
        worked
    }

    fn work_on_epochs(&self, world: &World, subject: &mut impl Subject) -> Result<()> {
        let values = Values::of(world);
        let mut trial = Trial::new(Host::new(world), subject);
        loop {
            let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
            let Some(size) = self.size(epoch) else { return Ok(()) };
            let generator = Generator::new(self.plan.seed, epoch, &self.corpus, &values);
            if let Some(found) = self.epoch(&mut trial, epoch, generator, size)? {
                self.over.store(true, Ordering::Relaxed);
                return self.explain(&mut trial, &found);
            }
        }
    }

    /// Runs an epoch, up to a fault.
    fn epoch<S: Subject>(
        &self,
        trial: &mut Trial<'_, S>,
        epoch: u64,
        mut generator: Generator<'_>,
        size: u64,
    ) -> Result<Option<Found>> {
        let setting = Setting::of_epoch(epoch);
        let mut frames: Vec<Vec<u8>> = Vec::new();
        trial.begin(setting)?;
        for _ in 0..size {
            let frame = generator.input();
            let (verdict, fault) =
                trial.step(&frame).with_context(|| format!("epoch {epoch} of seed {}", self.plan.seed))?;
            if matches!(verdict, Verdict::Transmit(_) | Verdict::Redirect(..)) {
                generator.forwarded(&frame, trial.frame());
            }
            frames.push(frame);
            self.inputs.fetch_add(1, Ordering::Relaxed);
            if let Some(count) = self.verdicts.get(usize::from(verdict.number())) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(fault) = fault {
                return Ok(Some(Found { epoch, setting, frames, fault }));
            }
        }
        Ok(trial.end()?.map(|fault| Found { epoch, setting, frames, fault }))
    }

    /// Shrinks a fault and writes it down.
    fn explain<S: Subject>(&self, trial: &mut Trial<'_, S>, found: &Found) -> Result<()> {
        let Found { epoch, setting, frames, fault } = found;
        let input = epoch * EPOCH_INPUTS + frames.len() as u64;
        let origin = format!("seed {}, epoch {epoch}, input {input}", self.plan.seed);
        let text = match shrink(trial, *setting, frames)? {
            Some(shrunk) => fault_text(&origin, *setting, &shrunk.frames, &shrunk.fault),
            None => fault_text(&format!("{origin}; not seen again when run again"), *setting, frames, fault),
        };
        let directory = &self.plan.directory;
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let path = directory.join(format!("fault-{}-{input}.txt", self.plan.seed));
        std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        if let Ok(mut fault) = self.fault.lock() {
            fault.get_or_insert(path);
        }
        Ok(())
    }

    /// Says that all workers have ended.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// Whether all workers have ended.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// Inputs so far, and the time.
    pub fn progress(&self) -> (u64, Duration) {
        (self.inputs.load(Ordering::Relaxed), self.started.elapsed())
    }

    /// The share that is done, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share of a progress line")]
    pub fn share(&self) -> f64 {
        let (inputs, elapsed) = self.progress();
        match self.plan.limit {
            Limit::Inputs(all) => inputs as f64 / all.max(1) as f64,
            Limit::Time(time) => (elapsed.as_secs_f64() / time.as_secs_f64().max(0.001)).min(1.0),
        }
    }

    /// The figures.
    pub fn summary(&self, jobs: usize) -> Summary {
        let (inputs, elapsed) = self.progress();
        let counts = (0..).zip(&self.verdicts).map(|(number, count)| (number, count.load(Ordering::Relaxed)));
        let fault_file = self.fault.lock().ok().and_then(|fault| fault.clone());
        Summary {
            seed: self.plan.seed,
            jobs,
            inputs,
            seconds: elapsed.as_secs_f64(),
            verdicts: counts
                .filter(|(_, count)| *count > 0)
                .map(|(number, count)| (name(number), count))
                .collect(),
            faults: u64::from(fault_file.is_some()),
            fault_file,
        }
    }
}

/// Runs the packets of a fault's file, or of the corpus's format, one after another. What became of each, and whether
/// all was well.
///
/// # Errors
/// When the text is not of the format, or a packet cannot be run.
pub fn replay(world: &World, subject: &mut impl Subject, text: &str) -> Result<(String, bool)> {
    let (setting, entries) = read_fault(text)?;
    let mut trial = Trial::new(Host::new(world), subject);
    trial.begin(setting)?;
    let mut report = String::new();
    let mut frames = Vec::new();
    for entry in entries {
        let (verdict, fault) = trial.step(&entry.frame)?;
        let _ = writeln!(report, "{}: {}", entry.name, name(verdict.number()));
        frames.push(entry.frame);
        if let Some(fault) = fault {
            report.push_str(&fault_text(&entry.name, setting, &frames, &fault));
            return Ok((report, false));
        }
    }
    let fault = trial.end()?;
    if let Some(fault) = &fault {
        report.push_str(&fault_text("all of them", setting, &frames, fault));
    }
    Ok((report, fault.is_none()))
}
