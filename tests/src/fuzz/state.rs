//! Pinned maps by their bytes, and the list of those that packets change.
//!
//! Imports `bpf` and lb-common. Always holds: keys and values that are passed to the kernel are as long as its map says.

use crate::bpf::{Access, map_delete, map_element, open_pinned};
use anyhow::{Context as _, Result, ensure};
use lb_common::abi::names;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

/// Maps that packets change. A map that is added here is emptied (hash maps) or filled with zeros (arrays) by every
/// reset.
pub const STATE: [&str; 8] = [
    names::FLOWS,
    names::RECORDER,
    names::VERDICTS,
    names::SERVICE_COUNTERS,
    names::BACKEND_COUNTERS,
    names::FRAGMENTS,
    names::SESSIONS,
    names::LIMITER,
];

/// Kinds of maps (`enum bpf_map_type`): a plain array, and those with a value for each CPU.
const ARRAY: u32 = 2;
const PER_CPU: [u32; 4] = [5, 6, 10, 21];
const PER_CPU_ARRAY: u32 = 6;

/// A map of any kind.
#[derive(Debug)]
pub struct RawMap {
    fd: OwnedFd,
    kind: u32,
    key_bytes: usize,
    value_bytes: usize,
    entries: u32,
}

impl RawMap {
    /// Opens a pinned map.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let (fd, entries) = open_pinned(path)?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let number = |name: &str| -> Result<u32> {
            let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(found.with_context(|| format!("{}: no {name}", path.display()))?.trim().parse()?)
        };
        let kind = number("map_type")?;
        let value_bytes = number("value_size")? as usize;
        let value_bytes = if PER_CPU.contains(&kind) {
            value_bytes.next_multiple_of(8) * possible_cpus()?
        } else {
            value_bytes
        };
        let key_bytes = number("key_size")? as usize;
        Ok(Self { fd, kind, key_bytes, value_bytes, entries: u32::try_from(entries)? })
    }

    /// Number of entries that there may be.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// A buffer for a value.
    pub fn value(&self) -> Vec<u8> {
        vec![0; self.value_bytes]
    }

    /// Reads a value. False if there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        self.element(Access::Lookup, Some(key), value)
    }

    /// Writes a value.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn update(&self, key: &[u8], value: &mut [u8]) -> Result<()> {
        ensure!(self.element(Access::Update, Some(key), value)?, "an entry that cannot be made");
        Ok(())
    }

    fn element(&self, access: Access, key: Option<&[u8]>, value: &mut [u8]) -> Result<bool> {
        let wanted = if access == Access::NextKey { self.key_bytes } else { self.value_bytes };
        ensure!(key.is_none_or(|key| key.len() == self.key_bytes), "a key of another length");
        ensure!(value.len() == wanted, "a value of another length");
        // SAFETY: both lengths were compared with the map's just now.
        Ok(unsafe { map_element(self.fd.as_fd(), access, key, value) }?)
    }

    /// Every entry of a hash map, by key and value.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read_all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut former: Option<Vec<u8>> = None;
        let mut key = vec![0; self.key_bytes];
        while all.len() < self.entries as usize
            && self.element(Access::NextKey, former.as_deref(), &mut key)?
        {
            let mut value = self.value();
            if self.lookup(&key, &mut value)? {
                all.push((key.clone(), value));
            }
            former = Some(key.clone());
        }
        Ok(all)
    }

    /// Takes out, or sets to 0, all there is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear(&self) -> Result<()> {
        if matches!(self.kind, ARRAY | PER_CPU_ARRAY) {
            let mut zero = self.value();
            return (0..self.entries).try_for_each(|index| self.update(&index.to_ne_bytes(), &mut zero));
        }
        let mut key = vec![0; self.key_bytes];
        for _ in 0..=self.entries {
            if !self.element(Access::NextKey, None, &mut key)? {
                return Ok(());
            }
            // SAFETY: the key is as long as the map's keys: the kernel wrote it.
            unsafe { map_delete(self.fd.as_fd(), &key) }?;
        }
        anyhow::bail!("a map that does not become empty")
    }
}

/// Empties every map that packets change.
///
/// # Errors
/// When a map is not there, or the kernel refuses.
pub fn reset(maps: &[RawMap]) -> Result<()> {
    maps.iter().try_for_each(RawMap::clear)
}

/// CPUs that there may be: per-CPU values have a part for each.
fn possible_cpus() -> Result<usize> {
    let path = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or_default();
    Ok(last.parse::<usize>().with_context(|| format!("{path} says {text}"))? + 1)
}
