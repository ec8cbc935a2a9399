//! A run of inputs from one state on: each through the host and the subject, compared and judged.
//!
//! Imports `host`, `rules`, `subject` and lb-common. Always holds: whatever differs is a [`Fault`]; an error is
//! something that kept a packet from being run.

use super::host::{Host, action};
use super::rules::Rules;
use super::subject::{Reaction, Subject, Totals};
use anyhow::Result;
use lb_common::abi::Recording;
use lb_common::pipeline::Verdict;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Inputs of an epoch.
pub const EPOCH_INPUTS: u64 = 8_192;

/// What holds for an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What may be recorded.
    pub recording: Recording,
    /// Whether the node may send answers of its own.
    pub answers: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { recording: Recording::All, answers: true }
    }
}

impl Setting {
    /// That of an epoch by its number: everything is recorded and answered in most.
    pub const fn of_epoch(number: u64) -> Self {
        let recording = match number % 8 {
            3 => Recording::EstablishedOnly,
            7 => Recording::Nothing,
            _ => Recording::All,
        };
        Self { recording, answers: number % 8 != 5 }
    }
}

/// What differs, or which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// XDP actions differ.
    Action,
    /// Verdicts' numbers differ.
    Verdict,
    /// Frames differ.
    Frame,
    /// The frame that both sides made breaks a rule.
    Rule,
    /// What packets left behind differs.
    Totals,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub kind: FaultKind,
    /// Details.
    pub text: String,
    /// The host's verdict and frame.
    pub host: (Verdict, Vec<u8>),
    /// The subject's.
    pub subject: (Reaction, Vec<u8>),
}

/// Both sides, and the rules.
pub struct Trial<'a, S> {
    host: Host,
    subject: &'a mut S,
    rules: Rules,
    host_frame: Vec<u8>,
    subject_frame: Vec<u8>,
}

impl<'a, S: Subject> Trial<'a, S> {
    /// A host beside a subject, over the subject's world.
    pub fn new(host: Host, subject: &'a mut S) -> Self {
        let rules = Rules::new(host.world());
        Self { host, subject, rules, host_frame: Vec::new(), subject_frame: Vec::new() }
    }

    /// Resets both sides: the one place where all state goes.
    ///
    /// # Errors
    /// When the subject cannot be reset.
    pub fn begin(&mut self, setting: Setting) -> Result<()> {
        self.host.reset(setting);
        self.rules.forget();
        self.subject.reset(setting)
    }

    /// Runs one packet through both sides.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn step(&mut self, frame: &[u8]) -> Result<(Verdict, Option<Fault>)> {
        let verdict = self.host.run(frame, &mut self.host_frame);
        let reaction = self.subject.run(frame, verdict.number(), &mut self.subject_frame)?;
        let fault = self.compare(frame, verdict, reaction).map(|(kind, text)| Fault {
            kind,
            text,
            host: (verdict, self.host_frame.clone()),
            subject: (reaction, self.subject_frame.clone()),
        });
        Ok((verdict, fault))
    }

    /// The frame that the last packet became.
    pub fn frame(&self) -> &[u8] {
        &self.host_frame
    }

    fn compare(&self, frame: &[u8], verdict: Verdict, reaction: Reaction) -> Option<(FaultKind, String)> {
        let expected = action(verdict);
        if reaction.number != Some(verdict.number()) {
            let text = format!("verdict {:?}, the host's is {}", reaction.number, verdict.number());
            return Some((FaultKind::Verdict, text));
        }
        if reaction.action != expected {
            let text = format!("XDP action {}, the host's verdict means {expected}", reaction.action);
            return Some((FaultKind::Action, text));
        }
        if self.subject_frame != self.host_frame {
            return Some((FaultKind::Frame, difference(&self.subject_frame, &self.host_frame)));
        }
        let broken = self.rules.check(frame, verdict, &self.host_frame).err()?;
        Some((FaultKind::Rule, broken))
    }

    /// Compares what all packets left behind.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn end(&mut self) -> Result<Option<Fault>> {
        let (host, subject) = (self.host.totals(), self.subject.totals()?);
        Ok((host != subject).then(|| Fault {
            kind: FaultKind::Totals,
            text: differing(&host, &subject),
            host: (Verdict::Pass(lb_common::abi::PassReason::NoService), Vec::new()),
            subject: (Reaction { action: 0, number: None }, Vec::new()),
        }))
    }

    /// Runs packets from a reset on; the first fault, and the number of packets up to it.
    ///
    /// # Errors
    /// When a packet cannot be run.
    pub fn run<F: AsRef<[u8]>>(&mut self, setting: Setting, frames: &[F]) -> Result<Option<(usize, Fault)>> {
        self.begin(setting)?;
        for (number, frame) in (1..).zip(frames) {
            if let (_, Some(fault)) = self.step(frame.as_ref())? {
                return Ok(Some((number, fault)));
            }
        }
        Ok(self.end()?.map(|fault| (frames.len(), fault)))
    }
}

/// Where two frames differ first.
pub fn difference(got: &[u8], expected: &[u8]) -> String {
    if got.len() != expected.len() {
        return format!("{} bytes, not {}", got.len(), expected.len());
    }
    let places = got.iter().zip(expected).enumerate().filter(|(_, (a, b))| a != b);
    let shown: Vec<String> =
        places.take(8).map(|(at, (a, b))| format!("byte {at} is {a:02x}, not {b:02x}")).collect();
    shown.join("; ")
}

/// Which totals differ.
fn differing(host: &Totals, subject: &Totals) -> String {
    let mut lines = Vec::new();
    let mut compare = |what: &str, differs: bool, text: String| {
        if differs {
            lines.push(format!("{what}: {text}"));
        }
    };
    let pair = |host: &dyn Debug, subject: &dyn Debug| format!("host {host:?}, kernel {subject:?}");
    compare("verdicts", host.verdicts != subject.verdicts, pair(&host.verdicts, &subject.verdicts));
    compare("services", host.services != subject.services, pair(&host.services, &subject.services));
    compare("backends", host.backends != subject.backends, pair(&host.backends, &subject.backends));
    compare("fragments", host.fragments != subject.fragments, apart(&host.fragments, &subject.fragments));
    compare("sessions", host.sessions != subject.sessions, apart(&host.sessions, &subject.sessions));
    compare("flows", host.flows != subject.flows, apart(&host.flows, &subject.flows));
    compare("recorder", host.recorder != subject.recorder, pair(&host.recorder, &subject.recorder));
    lines.join("\n")
}

/// Some entries that only one of the two has.
fn apart<K: Ord + Debug, V: PartialEq + Debug>(host: &BTreeMap<K, V>, subject: &BTreeMap<K, V>) -> String {
    let only = |a: &BTreeMap<K, V>, b: &BTreeMap<K, V>| {
        let extra = a.iter().filter(|(key, value)| b.get(key) != Some(value));
        extra.take(4).map(|(key, value)| format!("{key:?} {value:?}")).collect::<Vec<_>>().join(", ")
    };
    format!("host {}, kernel {}", only(host, subject), only(subject, host))
}
