//! The slot tables as the datapath reads them, from the pinned maps; and what a change of them cost.
//!
//! Imports `bpf` and lb-common's map ABI. Always holds: maps are mapped for reading only.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::{Context, Result, ensure};
use lb_common::abi::{ServiceEntry, Slot, address, names, place};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// TCP's IP protocol number.
const TCP: u8 = 6;

/// The pinned maps of a running agent.
pub struct SlotTables {
    services: Mapped,
    slots: Mapped,
}

/// A mapped array.
struct Mapped {
    start: *mut c_void,
    len: usize,
    entries: usize,
    // Keeps the map while it is mapped.
    _fd: OwnedFd,
}

/// What one change did to one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Slots that have another backend than before.
    pub count: usize,
    /// Slots that had to: the sum of what the backends that grew gained.
    pub least: usize,
    /// Slots of the table.
    pub slots: usize,
}

impl Moved {
    /// Between two tables of one pool.
    ///
    /// # Errors
    /// When they are not of one size.
    pub fn between(before: &[u32], after: &[u32]) -> Result<Self> {
        ensure!(before.len() == after.len(), "the table had {} slots and has {}", before.len(), after.len());
        let moved = before.iter().zip(after).filter(|(before, after)| before != after).count();
        let (had, has) = (counts(before), counts(after));
        let gain = |(backend, count): (&u32, &usize)| {
            count.saturating_sub(had.get(backend).copied().unwrap_or_default())
        };
        Ok(Self { count: moved, least: has.iter().map(gain).sum(), slots: after.len() })
    }

    /// Moved slots for each that had to move; none when none had to.
    pub fn over_least(self) -> Option<f64> {
        let as_float = |count| u32::try_from(count).map_or(f64::MAX, f64::from);
        (self.least > 0).then(|| as_float(self.count) / as_float(self.least))
    }
}

/// Slots by backend.
fn counts(table: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for backend in table {
        *counts.entry(*backend).or_default() += 1;
    }
    counts
}

impl SlotTables {
    /// Opens the maps pinned somewhere under `bpffs` (`node.bpffs`).
    ///
    /// # Errors
    /// When they are not there or can not be mapped.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let services = Mapped::open::<ServiceEntry>(&find_pin(bpffs, names::SERVICES)?)?;
        let slots = Mapped::open::<Slot>(&find_pin(bpffs, names::SLOTS)?)?;
        ensure!(services.entries.is_power_of_two(), "{} places of services", services.entries);
        Ok(Self { services, slots })
    }

    /// The backend that has each slot of a frontend's table.
    ///
    /// # Errors
    /// When there is no such frontend, or its table lies outside the map.
    pub fn current(&self, frontend: SocketAddr) -> Result<Vec<u32>> {
        let key = place::port_and_protocol(frontend.port().to_be(), TCP);
        let mask = u32::try_from(self.services.entries - 1)?;
        let get = |index: u32| self.services.get::<ServiceEntry>(index as usize);
        let entry = place::find(address(frontend.ip()), key, frontend.is_ipv4(), mask, get);
        let (offset, count) = entry.with_context(|| format!("no frontend {frontend}"))?.value.slots();
        let slot = |index: u32| {
            // The agent writes slots while this reads: each is one word, read as one.
            let slot = self.slots.get::<Slot>(index as usize).map(|slot| {
                // SAFETY: the reference is to a mapped, aligned slot; volatile because the agent may write it.
                unsafe { ptr::read_volatile(slot) }
            });
            slot.map(Slot::current)
                .with_context(|| format!("slot {index} of {frontend} lies outside the map"))
        };
        (offset..offset.saturating_add(count)).map(slot).collect()
    }
}

impl Mapped {
    fn open<T>(pin: &Path) -> Result<Self> {
        let (fd, entries) = crate::bpf::open_pinned(pin)?;
        let page = rustix::param::page_size();
        let len = (entries * size_of::<T>()).next_multiple_of(page);
        // SAFETY: a new mapping at an address that the kernel chooses; nothing of ours is there.
        let start = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, &fd, 0) };
        let start = start.with_context(|| format!("mapping {}", pin.display()))?;
        Ok(Self { start, len, entries, _fd: fd })
    }

    /// An entry. `T` is the type that the map was opened with.
    fn get<T>(&self, index: usize) -> Option<&T> {
        // SAFETY: the index is within the mapped entries, each of which is one `T`, plain data valid for any bits and
        // aligned in an array that begins at a page; the mapping lives as long as `self`.
        (index < self.entries).then(|| unsafe { &*self.start.cast::<T>().add(index) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly what `open` mapped, and no reference into it outlives `self`.
        if let Err(error) = unsafe { munmap(self.start, self.len) } {
            eprintln!("unmapping a map: {error}");
        }
    }
}

/// The pin of this name, in `directory` or below it.
fn find_pin(directory: &Path, name: &str) -> Result<PathBuf> {
    let direct = directory.join(name);
    if direct.exists() {
        return Ok(direct);
    }
    let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path().join(name);
        if path.exists() {
            return Ok(path);
        }
    }
    anyhow::bail!("no pin {name} under {}", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_that_must_move_is_what_the_growing_backends_gain() {
        // Backend 3 comes and gets a slot of each; a slot changes hands between 1 and 2 for nothing, twice.
        let moved = Moved::between(&[1, 1, 1, 2, 2, 2], &[3, 1, 2, 1, 3, 2]).unwrap();
        assert_eq!(moved, Moved { count: 4, least: 2, slots: 6 });
        assert_eq!(moved.over_least(), Some(2.0));
        assert_eq!(Moved::between(&[1, 2], &[1, 2]).unwrap().over_least(), None);
        assert!(Moved::between(&[1], &[1, 2]).is_err());
    }
}
