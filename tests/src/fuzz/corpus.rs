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
pub struct Corpus(Vec<Entry>);

impl Corpus {
    /// The fixtures and the committed packets, those that a test run takes, each frame once.
    ///
    /// # Errors
    /// When a line of the file is none.
    pub fn new() -> Result<Self> {
        let fixtures = all().into_iter().map(|it| Entry { name: it.name, frame: it.packet });
        let mut seen = BTreeSet::new();
        let entries = read(COMMITTED)?
            .into_iter()
            .chain(fixtures)
            .filter(|entry| (SHORTEST_BYTES..=LONGEST_BYTES).contains(&entry.frame.len()))
            .filter(|entry| seen.insert(entry.frame.clone()));
        Ok(Self(entries.collect()))
    }

    /// The packets.
    pub fn entries(&self) -> &[Entry] {
        &self.0
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
