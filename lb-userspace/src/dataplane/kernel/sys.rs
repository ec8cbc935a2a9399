//! bpf(2), for what aya does not do: batched calls, questions to the kernel, and the end of a link.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `BPF_OBJ_GET` (include/uapi/linux/bpf.h).
const OBJ_GET: libc::c_long = 7;

/// `BPF_LINK_DETACH` (Linux 5.9).
const LINK_DETACH: libc::c_long = 34;

/// `union bpf_attr` of `BPF_OBJ_GET`.
#[repr(C)]
struct ObjGet {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link: RawFd,
}

/// Takes the program of a pinned link off its interface, at once: removing the pin alone leaves that to the kernel, which
/// does it a moment later.
///
/// # Errors
/// When there is no such link, or the kernel cannot.
pub(super) fn detach_link(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjGet { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the attribute is that of the command, the path ends with a zero and lives until after the call; the command
    // returns a new descriptor.
    let link = unsafe { bpf_fd(OBJ_GET, &mut attr) }?;
    let mut attr = LinkDetach { link: link.as_raw_fd() };
    // SAFETY: the attribute is that of the command and has no addresses.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

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
