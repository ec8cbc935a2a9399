//! What was done with frames, for people and for programs.

use lb_common::decap::DecapReason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Frames by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<u8, u64>);

impl Counters {
    /// Frames of a reason.
    pub fn of(&self, reason: DecapReason) -> u64 {
        self.0.get(&reason.number()).copied().unwrap_or(0)
    }

    /// Adds frames of a reason.
    pub fn add(&mut self, reason: DecapReason, frames: u64) {
        *self.0.entry(reason.number()).or_default() += frames;
    }

    /// Lines with the frames, kind and reason of every reason that was met; one that says so where there was none.
    pub fn table(&self) -> String {
        let mut text = format!("{:>16}  {:<8} {}\n", "FRAMES", "DONE", "REASON");
        for reason in DecapReason::ALL.iter().filter(|reason| self.of(**reason) > 0) {
            let (frames, kind) = (self.of(*reason), reason.verdict().kind());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{frames:>16}  {kind:<8} {}", reason.name());
        }
        if self.0.values().all(|frames| *frames == 0) {
            text.push_str("no frames yet\n");
        }
        text
    }
}

/// The counters as JSON: kind, then reason, then frames; every reason is there.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// The interface.
    pub interface: &'a str,
    /// How the program is attached; null while it is not.
    pub mode: Option<&'static str>,
    /// Frames.
    pub frames: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
}

impl<'a> Report<'a> {
    /// The report of an interface.
    pub fn new(interface: &'a str, mode: Option<&'static str>, counters: &Counters) -> Self {
        let mut frames: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for reason in DecapReason::ALL {
            let of_kind = frames.entry(reason.verdict().kind()).or_default();
            of_kind.insert(reason.name(), counters.of(*reason));
        }
        Self { interface, mode, frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters() -> Counters {
        let mut counters = Counters::default();
        counters.add(DecapReason::NotIp, 0);
        counters.add(DecapReason::NotVip, 7);
        counters.add(DecapReason::Ipv4InIpv4, 1_234_567);
        counters
    }

    #[test]
    fn the_table_has_what_was_met() {
        assert_eq!(
            counters().table(),
            "          FRAMES  DONE     REASON\n               7  drop     not-vip\n         1234567  deliver  ipv4-in-ipv4\n"
        );
        assert!(Counters::default().table().contains("no frames yet"));
    }

    #[test]
    fn json_has_every_reason() {
        let report = Report::new("eth0", Some("native"), &counters());
        let value = serde_json::to_value(report).unwrap();
        assert_eq!(value["frames"]["deliver"]["ipv4-in-ipv4"], 1_234_567);
        assert_eq!(value["frames"]["pass"]["not-ip"], 0);
        let reasons: usize =
            value["frames"].as_object().unwrap().values().map(|kind| kind.as_object().unwrap().len()).sum();
        assert_eq!(reasons, DecapReason::ALL.len());
    }
}
