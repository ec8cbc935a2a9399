//! Packet memory: the one place that touches it.
//!
//! Imports core only. Always holds: a [`Chunk`] lies between the packet's start and end, so reading and writing
//! inside it needs no further check, and offsets inside it are checked when this crate is compiled. Values are passed
//! as they lie in memory; whoever needs a number converts with `from_be`.

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
pub mod vlan;

use core::marker::PhantomData;

/// A packet as the datapath sees it: its linear bytes, and room in front.
pub trait Packet {
    /// The bytes of the packet, from the Ethernet header on.
    fn window(&self) -> Window<'_>;

    /// Length of the packet in bytes. It may be more than the window shows, where a packet lies in several pieces.
    fn len_bytes(&self) -> usize;

    /// Makes the packet `bytes` longer at its head (the new bytes hold anything); false when there is no room.
    fn grow_head(&mut self, bytes: u8) -> bool;

    /// Takes `bytes` off the packet's head; false when it has no more than that.
    fn shrink_head(&mut self, bytes: u8) -> bool;

    /// Takes bytes off the packet's end until it has `bytes`, which must not be more than it has; false if that cannot be.
    fn trim(&mut self, bytes: usize) -> bool;

    /// Index of the interface that the packet came in by.
    fn ingress_ifindex(&self) -> u32;
}

/// The bytes from a packet's start to its end.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    start: usize,
    end: usize,
    packet: PhantomData<&'a [u8]>,
}

impl<'a> Window<'a> {
    /// A window from address `start` up to but not including `end`.
    ///
    /// # Safety
    /// The bytes in between must be readable and writable for as long as `'a` lasts, and nobody else may hold a
    /// reference to them.
    #[inline(always)]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end, packet: PhantomData }
    }

    /// Length in bytes.
    #[inline(always)]
    pub const fn len(self) -> usize {
        self.end.wrapping_sub(self.start)
    }

    /// Whether there is not a single byte.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The `N` bytes from `offset` on, if the packet has them.
    ///
    /// `offset` must be bounded (below 64 KiB) for the kernel's verifier to follow.
    #[inline(always)]
    pub fn chunk<const N: usize>(self, offset: usize) -> Option<Chunk<'a, N>> {
        let start = self.start + offset;
        if start + N > self.end { None } else { Some(Chunk { start, packet: PhantomData }) }
    }

    /// The same for an offset that is found out from the packet, checked by itself.
    ///
    /// Of two checks the compiler leaves out the one that the other covers, before or after it. The kernel's verifier does
    /// not see that where their offsets are not constants; so here the compiler may not relate them. Stages behind the fast
    /// path use it throughout.
    #[inline(always)]
    pub fn chunk_at<const N: usize>(self, offset: usize) -> Option<Chunk<'a, N>> {
        // Twice: were a constant taken off the offset taken off the pointer instead, the verifier would lose its way, too.
        let start = opaque(self.start + opaque(offset));
        if start + N > self.end { None } else { Some(Chunk { start, packet: PhantomData }) }
    }
}

/// The same number, of which the compiler knows nothing any more.
#[inline(always)]
fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: a register moved onto itself. Without any instruction the linker would write two lines of debug information
        // for one place, which the kernel refuses.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack, preserves_flags)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// `N` bytes of a packet.
#[derive(Clone, Copy)]
pub struct Chunk<'a, const N: usize> {
    start: usize,
    packet: PhantomData<&'a [u8]>,
}

macro_rules! accessors {
    ($load:ident, $store:ident, $type:ty, $what:literal) => {
        #[doc = concat!("The ", $what, " at offset `AT`, as it lies in memory.")]
        #[inline(always)]
        pub fn $load<const AT: usize>(self) -> $type {
            const { assert!(AT + size_of::<$type>() <= N) };
            let pointer = (self.start + AT) as *const $type;
            // SAFETY: the chunk's N bytes are inside the packet (`Window::chunk` compared them with its end), the
            // assertion above keeps the field inside the chunk, and every bit pattern is a valid integer.
            unsafe { load(pointer) }
        }

        #[doc = concat!("Writes the ", $what, " at offset `AT`, as it shall lie in memory.")]
        #[inline(always)]
        pub fn $store<const AT: usize>(self, value: $type) {
            const { assert!(AT + size_of::<$type>() <= N) };
            let pointer = (self.start + AT) as *mut $type;
            // SAFETY: as for loading; the window's maker promised that the bytes are writable and ours alone.
            unsafe { store(pointer, value) }
        }
    };
}

impl<const N: usize> Chunk<'_, N> {
    accessors!(byte, set_byte, u8, "byte");
    accessors!(half, set_half, u16, "16-bit word");
    accessors!(word, set_word, u32, "32-bit word");
}

/// Loads through a pointer of any alignment.
///
/// # Safety
/// `pointer` must be readable.
#[inline(always)]
unsafe fn load<T: Copy>(pointer: *const T) -> T {
    // An unaligned read in Rust becomes single-byte loads on BPF; the verifier allows unaligned packet access on
    // the machines we serve (HAVE_EFFICIENT_UNALIGNED_ACCESS), so there the natural load is the right one.
    #[cfg(target_arch = "bpf")]
    // SAFETY: readable by the caller's promise; BPF has no alignment faults here, see above.
    unsafe {
        core::ptr::read(pointer)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: readable by the caller's promise.
    unsafe {
        core::ptr::read_unaligned(pointer)
    }
}

/// Stores through a pointer of any alignment.
///
/// # Safety
/// `pointer` must be writable.
#[inline(always)]
unsafe fn store<T: Copy>(pointer: *mut T, value: T) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: writable by the caller's promise; BPF has no alignment faults here, see `load`.
    unsafe {
        core::ptr::write(pointer, value);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: writable by the caller's promise.
    unsafe {
        core::ptr::write_unaligned(pointer, value);
    }
}

#[cfg(any(feature = "host", test))]
mod buffer;
#[cfg(any(feature = "host", test))]
pub use buffer::BufferPacket;
