//! The agent's side of the hash tables in arrays (`lb_common::abi::place`).

use super::mmap::MappedArray;
use crate::dataplane::DataplaneError;
use bytemuck::Pod;
use lb_common::abi::{
    Address, ReverseEntry, ReverseKey, ReverseValue, ServiceEntry, ServiceKey, ServiceValue, is_mapped, place,
};

/// An entry of such a table.
pub(super) trait Entry: Pod {
    /// The key.
    type Key: Pod + Ord;
    /// The value.
    type Value: Pod;

    /// Whether a new value may be written over an old one: its parts that have to agree are one word.
    const IN_PLACE: bool;

    /// An entry in `state`.
    fn new(key: Self::Key, value: Self::Value, state: u32) -> Self;
    /// Key, value and state.
    fn parts(&self) -> (Self::Key, Self::Value, u32);
    /// Address, and port with protocol, of a key.
    fn tuple(key: &Self::Key) -> (Address, u32);
}

macro_rules! entry {
    ($entry:ident, $key:ident, $value:ident, $in_place:expr) => {
        impl Entry for $entry {
            type Key = $key;
            type Value = $value;
            const IN_PLACE: bool = $in_place;

            fn new(key: $key, value: $value, state: u32) -> Self {
                Self { key, state, value, zero: [0; 3] }
            }

            fn parts(&self) -> ($key, $value, u32) {
                (self.key, self.value, self.state)
            }

            fn tuple(key: &$key) -> (Address, u32) {
                (key.address, place::port_and_protocol(key.port, key.protocol))
            }
        }
    };
}

entry!(ServiceEntry, ServiceKey, ServiceValue, true);
entry!(ReverseEntry, ReverseKey, ReverseValue, false);

/// Keys with their values.
pub(super) type Entries<E> = Vec<(<E as Entry>::Key, <E as Entry>::Value)>;

/// Where a key is, or could be put.
struct Found {
    /// Its place.
    at: Option<u32>,
    /// The first place on its way that is not in use.
    free: Option<u32>,
}

/// A table, and how many keys it may hold.
pub(super) struct PlaceTable<E> {
    array: MappedArray<E>,
    name: &'static str,
    capacity: u32,
    used: u32,
    /// Whether a key was taken away since readers were last waited for.
    left: bool,
}

impl<E: Entry> PlaceTable<E> {
    pub(super) fn new(
        array: MappedArray<E>,
        name: &'static str,
        capacity: u32,
    ) -> Result<Self, DataplaneError> {
        let mut table = Self { array, name, capacity, used: 0, left: true };
        table.used = u32::try_from(table.entries()?.len()).unwrap_or(u32::MAX);
        Ok(table)
    }

    /// Everything that is in it.
    pub(super) fn entries(&self) -> Result<Entries<E>, DataplaneError> {
        let mut entries = Vec::new();
        for index in 0..self.array.entries() {
            let (key, value, state) = self.array.read(index)?.parts();
            if state == place::IN_USE {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn find(&self, key: &E::Key) -> Result<Found, DataplaneError> {
        let mask = self.array.entries() - 1;
        let (address, word) = E::tuple(key);
        let first = place::start(address, word, is_mapped(address), mask);
        let mut found = Found { at: None, free: None };
        for probe in 0..place::PROBES {
            let index = first.wrapping_add(probe) & mask;
            let (other, _, state) = self.array.read(index)?.parts();
            if state == place::IN_USE && other == *key && found.at.is_none() {
                found.at = Some(index);
            }
            if state != place::IN_USE && found.free.is_none() {
                found.free = Some(index);
            }
            if state == place::NEVER_USED {
                break;
            }
        }
        Ok(found)
    }

    /// Puts a key in, or gives it another value. `wait` waits until no reader is under way.
    pub(super) fn put(
        &mut self,
        key: E::Key,
        value: E::Value,
        wait: impl FnOnce(),
    ) -> Result<(), DataplaneError> {
        let found = self.find(&key)?;
        match found {
            Found { at: Some(index), .. } if E::IN_PLACE => {
                self.array.write(index, &E::new(key, value, place::IN_USE))
            }
            // Readers meet the new value at its new place, or the old one until it leaves.
            Found { at: Some(former), free: Some(index) } => {
                self.occupy(index, key, value, wait)?;
                self.leave(former)
            }
            Found { at: None, free: Some(index) } if self.used < self.capacity => {
                self.occupy(index, key, value, wait)?;
                self.used += 1;
                Ok(())
            }
            Found { free: None, .. } => Err(DataplaneError::Crowded { map: self.name }),
            Found { .. } => Err(DataplaneError::Full { map: self.name, capacity: self.capacity }),
        }
    }

    /// Writes a place that is not in use, once nobody reads its former key any more.
    fn occupy(
        &mut self,
        index: u32,
        key: E::Key,
        value: E::Value,
        wait: impl FnOnce(),
    ) -> Result<(), DataplaneError> {
        if self.left {
            wait();
            self.left = false;
        }
        self.array.write(index, &E::new(key, value, place::LEFT))?;
        self.array.write(index, &E::new(key, value, place::IN_USE))
    }

    /// Takes a place out of use. If no key can lie behind it, it and the places before it that were left need not be
    /// looked behind any more.
    fn leave(&mut self, index: u32) -> Result<(), DataplaneError> {
        let mask = self.array.entries() - 1;
        let (key, value, _) = self.array.read(index)?.parts();
        self.array.write(index, &E::new(key, value, place::LEFT))?;
        self.left = true;
        let mut at = index;
        let (_, _, behind) = self.array.read(at.wrapping_add(1) & mask)?.parts();
        if behind != place::NEVER_USED {
            return Ok(());
        }
        for _ in 0..place::PROBES {
            let (key, value, state) = self.array.read(at)?.parts();
            if state != place::LEFT {
                break;
            }
            self.array.write(at, &E::new(key, value, place::NEVER_USED))?;
            at = at.wrapping_sub(1) & mask;
        }
        Ok(())
    }

    /// Takes a key away, if it is there.
    pub(super) fn delete(&mut self, key: &E::Key) -> Result<(), DataplaneError> {
        if let Some(index) = self.find(key)?.at {
            self.leave(index)?;
            self.used = self.used.saturating_sub(1);
        }
        Ok(())
    }
}
