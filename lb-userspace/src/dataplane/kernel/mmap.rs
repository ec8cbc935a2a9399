//! An mmapable array map seen as memory (`BPF_F_MMAPABLE`, kernel 5.5).

use crate::dataplane::DataplaneError;
use bytemuck::Pod;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of eight bytes that a value is made of; the kernel's array stride is a multiple of it.
const WORD_BYTES: usize = 8;

/// The values of an array map.
///
/// Values are read and written as relaxed atomic words, since the kernel's programs read them at the same time.
#[derive(Debug)]
pub struct MappedArray<T> {
    words: NonNull<AtomicU64>,
    entries: u32,
    bytes: usize,
    name: &'static str,
    values: PhantomData<T>,
}

// SAFETY: the mapping is shared memory without thread affinity; every access goes through atomics.
unsafe impl<T> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = size_of::<T>() / WORD_BYTES;
    const WHOLE_WORDS: () = assert!(size_of::<T>().is_multiple_of(WORD_BYTES));

    /// Maps the array of `entries` values behind `fd`.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn new(fd: BorrowedFd<'_>, entries: u32, name: &'static str) -> Result<Self, DataplaneError> {
        let () = Self::WHOLE_WORDS;
        let page = rustix::param::page_size();
        let bytes = (entries as usize * size_of::<T>()).next_multiple_of(page);
        // SAFETY: a new mapping at an address of the kernel's choice, of a map that stays alive as long as it is
        // mapped; it aliases no Rust object.
        let pointer = unsafe {
            mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, fd, 0)
        }
        .map_err(|error| DataplaneError::System { call: "mmap of a map", source: error.into() })?;
        let words = NonNull::new(pointer.cast::<AtomicU64>()).ok_or_else(|| DataplaneError::System {
            call: "mmap of a map",
            source: std::io::ErrorKind::InvalidData.into(),
        })?;
        Ok(Self { words, entries, bytes, name, values: PhantomData })
    }

    /// Number of values.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    fn words(&self, index: u32) -> Result<&[AtomicU64], DataplaneError> {
        if index >= self.entries {
            return Err(DataplaneError::OutOfRange { map: self.name, index });
        }
        // SAFETY: index < entries, so the value's words lie inside the mapping, which lives as long as `self`;
        // a mapping is page-aligned and shared memory may be seen as atomics.
        Ok(unsafe {
            std::slice::from_raw_parts(self.words.as_ptr().add(index as usize * Self::WORDS), Self::WORDS)
        })
    }

    /// Reads a value.
    ///
    /// # Errors
    /// When `index` is beyond the end.
    pub fn read(&self, index: u32) -> Result<T, DataplaneError> {
        let mut value = T::zeroed();
        let words = self.words(index)?;
        let bytes = bytemuck::bytes_of_mut(&mut value).chunks_exact_mut(WORD_BYTES);
        for (word, bytes) in words.iter().zip(bytes) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Ok(value)
    }

    /// Writes a value, word by word from its start.
    ///
    /// # Errors
    /// When `index` is beyond the end.
    pub fn write(&self, index: u32, value: &T) -> Result<(), DataplaneError> {
        let words = self.words(index)?;
        for (word, bytes) in words.iter().zip(bytemuck::bytes_of(value).chunks_exact(WORD_BYTES)) {
            let mut raw = [0; WORD_BYTES];
            raw.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(raw), Ordering::Release);
        }
        Ok(())
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nothing borrowed from it outlives `self`.
        // A failure leaves it mapped until the process ends, which is harmless.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
