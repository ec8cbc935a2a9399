//! What is told in the end: figures of a run, and a fault with all that is needed to see it again.
//!
//! Imports `corpus`, `epoch`.

use super::anatomy::Anatomy;
use super::bytes::hex;
use super::corpus::{Entry, line, read};
use super::epoch::{Fault, Setting};
use super::sums::{header_sum, transport_sum};
use anyhow::{Context as _, Result};
use lb_common::abi::{Recording, verdict_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Start of the line that says what may be recorded, by its number.
const RECORDING: &str = "# recording ";
/// Start of the line that says whether the node may send answers of its own: 1 or 0.
const ANSWERS: &str = "# answers ";

/// Figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Seed of the inputs.
    pub seed: u64,
    /// Workers.
    pub jobs: usize,
    /// Inputs that both sides saw.
    pub inputs: u64,
    /// How long it took.
    pub seconds: f64,
    /// Inputs by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Inputs that the two sides disagreed about, or that broke a rule: the run ends with the first.
    pub faults: u64,
    /// File with the fault.
    pub fault_file: Option<PathBuf>,
}

impl Summary {
    /// Inputs in a second.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nobody runs 2^52 inputs")]
        let inputs = self.inputs as f64;
        if self.seconds > 0.0 { inputs / self.seconds } else { 0.0 }
    }
}

/// A verdict's kind and name.
pub fn name(number: u8) -> String {
    let (kind, name) = verdict_name(number).unwrap_or(("unknown", "verdict"));
    format!("{kind} {name}")
}

/// Where faults are written unless said otherwise: `target/fuzz`.
pub fn fault_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    target.unwrap_or_else(|| manifest.parent().unwrap_or(manifest).join("target")).join("fuzz")
}

/// A fault for people to read and for `--replay` to run: comments, then the packets in the corpus's format.
pub fn fault_text(origin: &str, setting: Setting, frames: &[Vec<u8>], fault: &Fault) -> String {
    let mut text = format!("# {origin}\n{RECORDING}{}\n", setting.recording as u32);
    let _ = writeln!(text, "{ANSWERS}{}", u8::from(setting.answers));
    let (verdict, host) = &fault.host;
    let (reaction, subject) = &fault.subject;
    let number = reaction.number.map_or_else(|| "no single verdict".to_owned(), name);
    let _ = writeln!(text, "# fault: {:?}: {}", fault.kind, fault.text.replace('\n', "\n#   "));
    let _ = writeln!(text, "# host: {} ({verdict:?})", name(verdict.number()));
    let _ = writeln!(text, "# kernel: {number}, XDP action {}", reaction.action);
    if let Some(input) = frames.last() {
        let _ = writeln!(text, "# in:     {}", fields(input));
    }
    let _ = writeln!(text, "# host:   {}\n# kernel: {}", fields(host), fields(subject));
    if host != subject {
        let _ = writeln!(text, "# host's frame:   {}\n# kernel's frame: {}", hex(host), hex(subject));
    }
    for (number, frame) in (1..).zip(frames) {
        text.push_str(&line(&format!("packet {number} of {}", frames.len()), frame));
    }
    text
}

/// A frame's fields in a line.
fn fields(frame: &[u8]) -> String {
    let Some(anatomy) = Anatomy::of(frame) else { return format!("{} bytes, no IP header", frame.len()) };
    format!(
        "{} bytes, {} tags, {} > {}, protocol {}, ports {:?}, IP length {}, fragment {:?}, header sum {:?}, sum {:?}",
        frame.len(),
        anatomy.tags,
        anatomy.source(frame),
        anatomy.destination(frame),
        anatomy.protocol,
        anatomy.ports(frame),
        anatomy.length(),
        anatomy.fragment,
        header_sum(frame, &anatomy),
        transport_sum(frame, &anatomy),
    )
}

/// Reads what [`fault_text`] wrote, or a file of the corpus.
///
/// # Errors
/// When a line is not of the format.
pub fn read_fault(text: &str) -> Result<(Setting, Vec<Entry>)> {
    let number = text.lines().find_map(|line| line.strip_prefix(RECORDING)).unwrap_or("0");
    let recording = match number.trim().parse::<u32>().context("the number of the recording")? {
        0 => Recording::All,
        1 => Recording::EstablishedOnly,
        _ => Recording::Nothing,
    };
    let answers = text.lines().find_map(|line| line.strip_prefix(ANSWERS)) != Some("0");
    Ok((Setting { recording, answers }, read(text)?))
}
