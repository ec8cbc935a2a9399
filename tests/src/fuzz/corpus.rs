//! Packets to start from: every fixture, and `tests/corpus/packets.txt`, where found cases stay.
//!
//! Imports `fixtures` and `bytes`. The file has a line for each packet, `name: hexadecimal digits`, and comments.

use super::bytes::{hex, of_hex};
use super::{LONGEST_BYTES, SHORTEST_BYTES};
use crate::fixtures::all;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;

/// The committed packets.
const COMMITTED: &str = include_str!("../../corpus/packets.txt");

/// A packet with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub name: String,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Packets to start from.
#[derive(Clone, Debug)]
pub struct Corpus {
    entries: Vec<Entry>,
    /// Packets that belong together, in order.
    sequences: Vec<Vec<Vec<u8>>>,
}

impl Corpus {
    /// The fixtures, with what comes before them, and the committed packets, those that a test run takes, each frame once.
    ///
    /// # Errors
    /// When a line of the file is none.
    pub fn new() -> Result<Self> {
        let fits = |frame: &Vec<u8>| (SHORTEST_BYTES..=LONGEST_BYTES).contains(&frame.len());
        let mut sequences = Vec::new();
        let mut fixtures = Vec::new();
        for fixture in all() {
            let name = |number: usize| format!("{} (packet {number} before it)", fixture.name);
            let before = fixture.before.iter().enumerate();
            fixtures.extend(before.map(|(at, frame)| Entry { name: name(at), frame: frame.clone() }));
            fixtures.push(Entry { name: fixture.name.clone(), frame: fixture.packet.clone() });
            if !fixture.before.is_empty() {
                sequences.push([fixture.before, vec![fixture.packet]].concat());
            }
        }
        sequences.retain(|frames| frames.iter().all(fits));
        let mut seen = BTreeSet::new();
        let entries = read(COMMITTED)?
            .into_iter()
            .chain(fixtures)
            .filter(|entry| fits(&entry.frame))
            .filter(|entry| seen.insert(entry.frame.clone()));
        Ok(Self { entries: entries.collect(), sequences })
    }

    /// The packets.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Packets that belong together, in order: fixtures that need others before them.
    pub fn sequences(&self) -> &[Vec<Vec<u8>>] {
        &self.sequences
    }
}

/// Reads packets in the file's format.
///
/// # Errors
/// When a line is not of it; the message names the line.
pub fn read(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (name, digits) =
            line.rsplit_once(": ").with_context(|| format!("line {number}: no `name: digits`"))?;
        let frame =
            of_hex(digits.trim()).with_context(|| format!("line {number}: {name}: not hexadecimal"))?;
        ensure!(!frame.is_empty(), "line {number}: {name}: an empty packet");
        entries.push(Entry { name: name.to_owned(), frame });
    }
    Ok(entries)
}

/// A packet as a line of the file.
pub fn line(name: &str, frame: &[u8]) -> String {
    format!("{name}: {}\n", hex(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_packet_has_a_name_of_its_own_and_a_size_that_a_test_run_takes() {
        let committed = read(COMMITTED).unwrap();
        let names: BTreeSet<&str> = committed.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names.len(), committed.len());
        assert!(committed.len() >= 50, "only {}", committed.len());
        assert!(committed.iter().all(|it| (SHORTEST_BYTES..=LONGEST_BYTES).contains(&it.frame.len())));
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        let text = format!("# comment\n\n{}", line("one: two", &[0xab, 0x01]));
        let expected = Entry { name: "one: two".to_owned(), frame: vec![0xab, 0x01] };
        assert_eq!(read(&text).unwrap(), [expected]);
        assert!(read("name\n").is_err() && read("name: 0g\n").is_err() && read("name: \n").is_err());
    }
}
