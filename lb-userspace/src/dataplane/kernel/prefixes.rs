//! Longest-prefix tables, typed by what their keys are in [`super::super::Observed`].

use super::super::{DataplaneError, NetworkPrefix, PortsPrefix};
use super::maps::{Raw, refused};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapData, MapError};
use lb_common::abi::{Address, PortsKey};
use std::collections::BTreeMap;

/// A key of such a table, apart from its length.
pub(super) trait Prefix: Ord + Copy {
    /// What the map has it as.
    type Data: bytemuck::Pod;

    /// Length in bits, and data.
    fn parts(&self) -> (u32, Self::Data);
    /// The opposite.
    fn of(bits: u32, data: Self::Data) -> Self;
}

impl Prefix for PortsPrefix {
    type Data = PortsKey;

    fn parts(&self) -> (u32, PortsKey) {
        (self.bits, self.key)
    }

    fn of(bits: u32, key: PortsKey) -> Self {
        Self { key, bits }
    }
}

impl Prefix for NetworkPrefix {
    type Data = Address;

    fn parts(&self) -> (u32, Address) {
        (self.bits, self.address)
    }

    fn of(bits: u32, address: Address) -> Self {
        Self { address, bits }
    }
}

/// A table.
pub(super) struct PrefixTable<K, V> {
    map: LpmTrie<MapData, Raw<K>, Raw<V>>,
    name: &'static str,
    capacity: u32,
}

impl<K: bytemuck::Pod, V: bytemuck::Pod> PrefixTable<K, V> {
    pub(super) const fn new(
        map: LpmTrie<MapData, Raw<K>, Raw<V>>,
        name: &'static str,
        capacity: u32,
    ) -> Self {
        Self { map, name, capacity }
    }

    /// Everything that is in it.
    pub(super) fn entries<P: Prefix<Data = K>>(&self) -> Result<BTreeMap<P, V>, DataplaneError> {
        let entry = |entry: Result<(Key<Raw<K>>, Raw<V>), MapError>| {
            let (key, Raw(value)) = entry.map_err(refused("read", self.name))?;
            let Raw(data) = key.data();
            Ok((P::of(key.prefix_len(), data), value))
        };
        self.map.iter().map(entry).collect()
    }

    /// Puts a key in, or gives it another value, in one step.
    pub(super) fn put<P: Prefix<Data = K>>(&mut self, prefix: &P, value: &V) -> Result<(), DataplaneError> {
        let (bits, data) = prefix.parts();
        match self.map.insert(&Key::new(bits, Raw(data)), Raw(*value), 0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOSPC) => {
                Err(DataplaneError::Full { map: self.name, capacity: self.capacity })
            }
            result => result.map_err(refused("write to", self.name)),
        }
    }

    /// Takes a key away, if it is there.
    pub(super) fn delete<P: Prefix<Data = K>>(&mut self, prefix: &P) -> Result<(), DataplaneError> {
        let (bits, data) = prefix.parts();
        match self.map.remove(&Key::new(bits, Raw(data))) {
            Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            result => result.map_err(refused("write to", self.name)),
        }
    }
}
