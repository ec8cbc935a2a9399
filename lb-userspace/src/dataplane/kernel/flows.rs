//! The flow table in bulk: batched system calls (Linux 5.6), which aya does not have.

use super::super::DataplaneError;
use super::sys::bpf;
use aya::maps::MapData;
use lb_common::abi::{FlowKey, FlowValue};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

/// Entries that one call reads or deletes. More than a bucket of the kernel's hash table ever holds, as a call returns
/// whole buckets; few enough that keys and values stay in the second-level cache.
const BATCH: u32 = 4_096;

/// `BPF_MAP_LOOKUP_BATCH` (include/uapi/linux/bpf.h).
const LOOKUP_BATCH: libc::c_long = 24;
/// `BPF_MAP_DELETE_BATCH`.
const DELETE_BATCH: libc::c_long = 27;

/// The part of `union bpf_attr` that batched commands use.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The flow table.
pub(super) struct Flows {
    map: MapData,
}

impl Flows {
    pub(super) const fn new(map: MapData) -> Self {
        Self { map }
    }

    /// Shows every entry to `is_over` and takes those out for which it says so, a batch at a time: an entry that begins
    /// anew in between is taken for the old one, so the time in between is kept short. Entries that come or go meanwhile
    /// may be seen or not.
    pub(super) fn sweep(
        &self,
        is_over: &mut dyn FnMut(&FlowKey, FlowValue) -> bool,
    ) -> Result<(), DataplaneError> {
        let mut over: Vec<FlowKey> = Vec::new();
        let mut keys: Vec<FlowKey> = vec![bytemuck::Zeroable::zeroed(); BATCH as usize];
        let mut values = vec![FlowValue::default(); BATCH as usize];
        let mut position: Option<u32> = None;
        // Each call goes on to another bucket, and there are no more buckets than entries, rounded up.
        loop {
            let mut next = 0_u32;
            let mut attr = BatchAttr {
                in_batch: position.as_ref().map_or(0, address),
                out_batch: address_mut(&mut next),
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: BATCH,
                ..self.attr()
            };
            // SAFETY: the attribute is that of batched commands; `keys` and `values` have room for `count` entries of the
            // map's key and value types, `in_batch` and `out_batch` for the u32 that hash maps use; all outlive the call.
            let result = unsafe { bpf(LOOKUP_BATCH, &mut attr) };
            let entries = keys.iter().zip(&values).take(attr.count as usize);
            over.clear();
            over.extend(entries.filter(|(key, value)| is_over(key, **value)).map(|(key, _)| *key));
            self.delete(&over)?;
            match result {
                Ok(_) => position = Some(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                Err(source) => return Err(failed("BPF_MAP_LOOKUP_BATCH", source)),
            }
        }
    }

    /// Takes entries out; those that are gone already are no error.
    fn delete(&self, keys: &[FlowKey]) -> Result<(), DataplaneError> {
        let mut rest = keys;
        while !rest.is_empty() {
            let count = u32::try_from(rest.len()).unwrap_or(BATCH).min(BATCH);
            let mut attr = BatchAttr { keys: rest.as_ptr() as u64, count, ..self.attr() };
            // SAFETY: the attribute is that of batched commands; `keys` points to `count` keys of the map's key type, which
            // outlive the call.
            let result = unsafe { bpf(DELETE_BATCH, &mut attr) };
            let done = match result {
                Ok(_) => count as usize,
                // The call stops at a key that the kernel threw out meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => attr.count as usize + 1,
                Err(source) => return Err(failed("BPF_MAP_DELETE_BATCH", source)),
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    fn attr(&self) -> BatchAttr {
        let fd: BorrowedFd<'_> = self.map.fd().as_fd();
        BatchAttr { map_fd: u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX), ..BatchAttr::default() }
    }
}

fn address(value: &u32) -> u64 {
    core::ptr::from_ref(value) as u64
}

fn address_mut(value: &mut u32) -> u64 {
    core::ptr::from_mut(value) as u64
}

fn failed(call: &'static str, source: io::Error) -> DataplaneError {
    DataplaneError::System { call, source }
}
