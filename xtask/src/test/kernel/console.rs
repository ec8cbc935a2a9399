//! What the machine says on its second serial port: the tests' output and the marks of `init.sh`.
//!
//! Role: pure; lines in, a verdict out. Imports `tally` and `tiers`.
//! Always holds: without a mark for every test and the last one, the verdict is a failure.

use super::super::tally::Tally;
use super::super::tiers::Outcome;

/// What marks begin with.
const MARK: &str = "@@ ";

/// How far the machine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its kernel starts.
    Booting,
    /// It runs tests.
    Testing,
    /// It has run them all and is about to switch itself off.
    Over,
}

/// What was said so far.
#[derive(Debug)]
pub struct Console {
    expected: Vec<String>,
    ended: Vec<(String, i32)>,
    stage: Stage,
    tally: Tally,
}

impl Console {
    /// A machine that is to run these tests.
    pub fn expecting(tests: Vec<String>) -> Self {
        Self { expected: tests, ended: Vec::new(), stage: Stage::Booting, tally: Tally::default() }
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Takes a line, and returns what to show of it.
    pub fn take(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end_matches('\r');
        let Some(mark) = line.strip_prefix(MARK) else {
            self.tally = Tally::of_line(line).map_or(self.tally, |found| self.tally + found);
            return Some(line.to_owned());
        };
        match mark.split(' ').collect::<Vec<_>>().as_slice() {
            ["booted", release] => {
                self.stage = Stage::Testing;
                Some(format!("  booted Linux {release}"))
            }
            ["began", test] => Some(format!("  running {test}")),
            ["ended", test, status] => {
                // What is no number is no success.
                self.ended.push(((*test).to_owned(), status.parse().unwrap_or(-1)));
                None
            }
            ["over"] => {
                self.stage = Stage::Over;
                None
            }
            _ => Some(line.to_owned()),
        }
    }

    /// How the tests went; says what is missing.
    pub fn verdict(&self) -> (Outcome, Tally) {
        let faults = self.faults();
        for fault in &faults {
            println!("{fault}");
        }
        match (faults.is_empty(), self.tally.failed) {
            (true, 0) => (Outcome::Passed, self.tally),
            // A fault without a failed test is a crash, of the test or of the machine, and counts as one.
            (_, 0) => (Outcome::Failed, Tally { failed: 1, ..self.tally }),
            (..) => (Outcome::Failed, self.tally),
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for test in &self.expected {
            match self.ended.iter().find(|(name, _)| name == test) {
                Some((_, 0)) => {}
                Some((_, status)) => faults.push(format!("{test} ended with {status}")),
                None => faults.push(format!("{test} did not end")),
            }
        }
        match self.stage {
            Stage::Booting => faults.push("the machine did not boot".to_owned()),
            Stage::Testing => faults.push("the machine stopped before all tests were over".to_owned()),
            Stage::Over => {}
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Console {
        let mut console = Console::expecting(vec!["a".to_owned(), "b".to_owned()]);
        for line in lines {
            console.take(line);
        }
        console
    }

    const ALL_WELL: [&str; 8] = [
        "@@ booted 6.1.0-56-cloud-amd64\r",
        "@@ began a\r",
        "test result: ok. 3 passed; 0 failed; 0 ignored\r",
        "@@ ended a 0\r",
        "@@ began b\r",
        "test result: ok. 2 passed; 0 failed; 0 ignored\r",
        "@@ ended b 0\r",
        "@@ over\r",
    ];

    #[test]
    fn tests_that_all_ended_well_pass_and_are_counted_together() {
        let console = after(&ALL_WELL);
        assert_eq!(console.verdict(), (Outcome::Passed, Tally { passed: 5, failed: 0, ignored: 0 }));
        assert_eq!(console.stage(), Stage::Over);
    }

    #[test]
    fn a_machine_that_stops_anywhere_before_the_last_mark_has_failed() {
        for length in 0..ALL_WELL.len() {
            let (outcome, tally) = after(&ALL_WELL[..length]).verdict();
            assert_eq!(outcome, Outcome::Failed, "after {length} lines");
            assert!(tally.failed > 0, "after {length} lines");
        }
    }

    #[test]
    fn failed_tests_are_counted_and_a_crash_counts_as_one() {
        let mut lines = ALL_WELL;
        lines[2] = "test result: FAILED. 1 passed; 2 failed; 0 ignored";
        lines[3] = "@@ ended a 101";
        assert_eq!(after(&lines).verdict(), (Outcome::Failed, Tally { passed: 3, failed: 2, ignored: 0 }));
        let mut lines = ALL_WELL;
        lines[6] = "@@ ended b 139";
        assert_eq!(after(&lines).verdict(), (Outcome::Failed, Tally { passed: 5, failed: 1, ignored: 0 }));
    }

    #[test]
    fn marks_are_shown_as_sentences_and_other_lines_as_they_are() {
        let mut console = after(&[]);
        assert_eq!(console.take("@@ booted 6.1\r").as_deref(), Some("  booted Linux 6.1"));
        assert_eq!(console.take("@@ over").as_deref(), None);
        assert_eq!(console.take("test x ... ok\r").as_deref(), Some("test x ... ok"));
    }
}
