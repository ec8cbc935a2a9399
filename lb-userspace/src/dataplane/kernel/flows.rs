//! Tables of flows in bulk: batched system calls (Linux 5.6), which aya does not have.

use super::super::DataplaneError;
use super::sys::bpf;
use aya::maps::MapData;
use lb_common::abi::FlowKey;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

/// Entries that one call reads or deletes. More than a bucket of the kernel's hash table ever holds, as a call returns
/// whole buckets; few enough that keys and values stay in the second-level cache.
const BATCH: u32 = 4_096;

/// `BPF_MAP_LOOKUP_ELEM` (include/uapi/linux/bpf.h).
const LOOKUP: libc::c_long = 1;
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

/// The part that commands on one element use.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Room for entries that are read at once.
pub(super) struct Batch<V> {
    keys: Vec<FlowKey>,
    values: Vec<V>,
    count: usize,
}

impl<V: bytemuck::Pod> Batch<V> {
    /// Room for `room` entries; more than a bucket holds.
    pub(super) fn new(room: u32) -> Self {
        let room = room as usize;
        Self { keys: vec![bytemuck::Zeroable::zeroed(); room], values: vec![V::zeroed(); room], count: 0 }
    }

    /// What was read last.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&FlowKey, &V)> {
        self.keys.iter().zip(&self.values).take(self.count)
    }
}

/// A hash table by flow, with values of `V`.
pub(super) struct Flows<V> {
    map: MapData,
    values: PhantomData<V>,
}

impl<V: bytemuck::Pod> Flows<V> {
    /// `map` is a hash with keys of [`FlowKey`] and values of `V`.
    pub(super) const fn new(map: MapData) -> Self {
        Self { map, values: PhantomData }
    }

    /// Shows every entry to `is_over` and takes those out for which it says so, a batch at a time: an entry that begins
    /// anew in between is taken for the old one, so the time in between is kept short. Entries that come or go meanwhile
    /// may be seen or not.
    pub(super) fn sweep(&self, is_over: &mut dyn FnMut(&FlowKey, &V) -> bool) -> Result<(), DataplaneError> {
        let mut over: Vec<FlowKey> = Vec::new();
        let mut batch = Batch::new(BATCH);
        let mut position: Option<u32> = None;
        // Each call goes on to another bucket, and there are no more buckets than entries, rounded up.
        loop {
            position = self.read(position, &mut batch)?;
            over.clear();
            over.extend(batch.entries().filter(|(key, value)| is_over(key, value)).map(|(key, _)| *key));
            self.delete(&over)?;
            if position.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads entries from a bucket on, or from the first. The bucket to go on with; none at the end.
    pub(super) fn read(
        &self,
        position: Option<u32>,
        batch: &mut Batch<V>,
    ) -> Result<Option<u32>, DataplaneError> {
        let mut next = 0_u32;
        let mut attr = BatchAttr {
            in_batch: position.as_ref().map_or(0, address),
            out_batch: address_mut(&mut next),
            keys: batch.keys.as_mut_ptr() as u64,
            values: batch.values.as_mut_ptr() as u64,
            count: u32::try_from(batch.keys.len()).unwrap_or(BATCH),
            ..self.attr()
        };
        // SAFETY: the attribute is that of batched commands; `keys` and `values` have room for `count` entries of the map's
        // key and value types, `in_batch` and `out_batch` for the u32 that hash maps use; all outlive the call.
        let result = unsafe { bpf(LOOKUP_BATCH, &mut attr) };
        batch.count = attr.count as usize;
        match result {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(failed("BPF_MAP_LOOKUP_BATCH", source)),
        }
    }

    /// The value of a key.
    pub(super) fn find(&self, key: &FlowKey) -> Result<Option<V>, DataplaneError> {
        let mut value = V::zeroed();
        let mut attr = ElementAttr {
            map_fd: self.attr().map_fd,
            key: core::ptr::from_ref(key) as u64,
            value: core::ptr::from_mut(&mut value) as u64,
            ..ElementAttr::default()
        };
        // SAFETY: the attribute is that of commands on one element; `key` and `value` are of the map's key and value types,
        // and outlive the call.
        match unsafe { bpf(LOOKUP, &mut attr) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(failed("BPF_MAP_LOOKUP_ELEM", source)),
        }
    }

    /// Takes entries out; those that are gone already are no error.
    pub(super) fn delete(&self, keys: &[FlowKey]) -> Result<(), DataplaneError> {
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
