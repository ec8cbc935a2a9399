//! bpf(2), for what aya does not do: batched calls and questions to the kernel.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// The bpf(2) system call; its result, which some commands return a descriptor in.
///
/// # Safety
/// `attr` must be the start of `union bpf_attr` for `command`, and every address in it good for what the command does
/// with it.
pub(super) unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the attribute is a structure of the size given, which the kernel may write to; its meaning and its
    // addresses are the caller's duty.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, core::ptr::from_mut(attr), size_of::<T>()) };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A command that makes a descriptor.
///
/// # Safety
/// As [`bpf`], and the command must be one that returns a new descriptor.
pub(super) unsafe fn bpf_fd<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's duty.
    let descriptor = unsafe { bpf(command, attr) }?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
