//! Counts what libtest reports.
//!
//! Role: pure; lines of output in, sums out. Imports nothing of ours.
//! Always holds: only lines that libtest ends a test binary with are counted.

use std::fmt;
use std::ops::Add;

/// Tests that passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and steps that are no tests (a build, the format) and failed.
    pub failed: u64,
    /// Tests that were left out: those that take long, and those that need what the kernel lacks.
    pub ignored: u64,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Tally {
    /// The counts of a line `test result: ok. 3 passed; 0 failed; …`; none for another line.
    pub fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            counts
                .split("; ")
                .find_map(|part| part.strip_suffix(word).and_then(|number| number.trim().parse().ok()))
        };
        Some(Self { passed: count(" passed")?, failed: count(" failed")?, ignored: count(" ignored")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let ok =
            "test result: ok. 54 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.06s";
        assert_eq!(Tally::of_line(ok), Some(Tally { passed: 54, failed: 0, ignored: 1 }));
        let bad = "test result: FAILED. 53 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Tally::of_line(bad), Some(Tally { passed: 53, failed: 2, ignored: 0 }));
    }

    #[test]
    fn other_lines_are_not() {
        assert_eq!(Tally::of_line("test a::b ... ok"), None);
        assert_eq!(Tally::of_line("9 passed; 9 failed"), None);
        assert_eq!(Tally::of_line("test result: what. ever"), None);
    }

    #[test]
    fn the_sum_is_the_closing_line() {
        let sum = Tally { passed: 2, failed: 1, ignored: 1 } + Tally { passed: 3, failed: 0, ignored: 0 };
        assert_eq!(sum.to_string(), "5 passed, 1 failed");
    }
}
