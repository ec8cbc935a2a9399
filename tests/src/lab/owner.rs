//! Who owns a lab: the identity in the name of everything it makes.
//!
//! A process id alone can be used again by another process, so the identity has the start time of the process too.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// First part of the name of everything that labs make.
const PREFIX: &str = "lb-";

/// Position of the state among the fields of `/proc/PID/stat` that follow the command's name (proc(5), field 3).
const STATE_FIELD: usize = 0;

/// Position of the start time among those fields (proc(5), field 22).
const START_FIELD: usize = 19;

/// A process for as long as it lives: its id and its start, in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    start_ticks: u64,
}

/// Identity of one lab.
#[derive(Clone, Debug)]
pub(super) struct LabId {
    owner: Owner,
    count: u32,
    name: String,
}

impl LabId {
    /// An identity that no other lab on this machine has.
    pub(super) fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { owner: Owner::this()?, count, name: name.to_owned() })
    }
}

impl fmt::Display for LabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { pid, start_ticks } = self.owner;
        write!(f, "{PREFIX}{pid}-{start_ticks}-{}-{}", self.count, self.name)
    }
}

impl Owner {
    /// This process.
    fn this() -> Result<Self> {
        static THIS: OnceLock<Owner> = OnceLock::new();
        if let Some(owner) = THIS.get() {
            return Ok(*owner);
        }
        let pid = std::process::id();
        let start_ticks = start_of_living(pid).context("reading this process's start time from /proc")?;
        Ok(*THIS.get_or_init(|| Self { pid, start_ticks }))
    }

    /// The owner in the name of a namespace or a directory; `None` when labs did not make it.
    pub(super) fn of(made: &str) -> Option<Self> {
        let mut parts = made.strip_prefix(PREFIX)?.split('-');
        let pid = parts.next()?.parse().ok()?;
        let start_ticks = parts.next()?.parse().ok()?;
        let _count: u32 = parts.next()?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// Whether the process still runs. One that has ended but was not waited for (a zombie) does not.
    pub(super) fn is_alive(self) -> bool {
        start_of_living(self.pid) == Some(self.start_ticks)
    }
}

/// Start of a process that lives.
fn start_of_living(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may have any character in it, so count from the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(*fields.get(STATE_FIELD)?, "Z" | "X") {
        return None;
    }
    fields.get(START_FIELD)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_name_leads_back_to_it() {
        let id = LabId::new("web").unwrap();
        let owner = Owner::of(&format!("{id}-client")).unwrap();
        assert_eq!(owner, Owner::this().unwrap());
        assert!(owner.is_alive());
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_the_owner() {
        let this = Owner::this().unwrap();
        assert!(!Owner { start_ticks: this.start_ticks + 1, ..this }.is_alive());
    }

    #[test]
    fn names_that_labs_did_not_make_have_no_owner() {
        for name in ["web", "lb-", "lb-web", "lb-1-x-2-web", "lb-1-2"] {
            assert_eq!(Owner::of(name), None, "{name}");
        }
    }
}
