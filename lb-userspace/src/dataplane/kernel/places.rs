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

    /// An entry in `state`.
    fn new(key: Self::Key, value: Self::Value, state: u32) -> Self;
    /// Key, value and state.
    fn parts(&self) -> (Self::Key, Self::Value, u32);
    /// Address, and port with protocol, of a key.
    fn tuple(key: &Self::Key) -> (Address, u32);
}

macro_rules! entry {
    ($entry:ident, $key:ident, $value:ident, $zero:expr) => {
        impl Entry for $entry {
            type Key = $key;
            type Value = $value;

            fn new(key: $key, value: $value, state: u32) -> Self {
                Self { key, state, value, zero: $zero }
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

entry!(ServiceEntry, ServiceKey, ServiceValue, [0; 3]);
entry!(ReverseEntry, ReverseKey, ReverseValue, [0; 3]);

/// Keys with their values.
pub(super) type Entries<E> = Vec<(<E as Entry>::Key, <E as Entry>::Value)>;

/// Where a key is, or could be put.
struct Found {
    /// Its place.
    at: Option<u32>,
    /// The first place on its way that is not in use, and that place's state.
    free: Option<(u32, u32)>,
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
        let mut free = None;
        for probe in 0..place::PROBES {
            let index = first.wrapping_add(probe) & mask;
            let (found, _, state) = self.array.read(index)?.parts();
            if state == place::IN_USE && found == *key {
                return Ok(Found { at: Some(index), free });
            }
            if state != place::IN_USE && free.is_none() {
                free = Some((index, state));
            }
            if state == place::NEVER_USED {
                break;
            }
        }
        Ok(Found { at: None, free })
    }

    /// Puts a key in, or gives it another value. `wait` waits until no reader is under way.
    pub(super) fn put(
        &mut self,
        key: E::Key,
        value: E::Value,
        wait: impl FnOnce(),
    ) -> Result<(), DataplaneError> {
        let full = DataplaneError::Full { map: self.name, capacity: self.capacity };
        match self.find(&key)? {
            Found { at: Some(index), .. } => self.array.write(index, &E::new(key, value, place::IN_USE)),
            Found { free: Some((index, state)), .. } if self.used < self.capacity => {
                if state == place::LEFT && self.left {
                    wait();
                    self.left = false;
                }
                self.array.write(index, &E::new(key, value, place::LEFT))?;
                self.array.write(index, &E::new(key, value, place::IN_USE))?;
                self.used += 1;
                Ok(())
            }
            Found { .. } => Err(full),
        }
    }

    /// Takes a key away, if it is there.
    pub(super) fn delete(&mut self, key: &E::Key) -> Result<(), DataplaneError> {
        if let Some(index) = self.find(key)?.at {
            let (key, value, _) = self.array.read(index)?.parts();
            self.array.write(index, &E::new(key, value, place::LEFT))?;
            self.left = true;
            self.used = self.used.saturating_sub(1);
        }
        Ok(())
    }
}
