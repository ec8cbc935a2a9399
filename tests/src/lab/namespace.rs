//! Going into a namespace: a thread of this process, or a program about to start.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Where programs expect the bpffs.
const BPFFS_DIR: &CStr = c"/sys/fs/bpf";

/// Runs `work` on a thread of its own in the network namespace; a panic in it goes on in the caller.
pub(super) fn enter<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
            Ok::<T, rustix::io::Errno>(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
    .context("entering the network namespace")
}

/// Lets the command start in the network namespace with a mount namespace of its own, where `/sys` shows the
/// interfaces of the network namespace and `/sys/fs/bpf` is `bpffs` (not mounted if `None`), and in a process group of
/// its own, so that the terminal's Ctrl-C reaches this program only.
pub(super) fn start_inside(command: &mut Command, netns: &Arc<OwnedFd>, bpffs: Option<&str>) -> Result<()> {
    let netns = Arc::clone(netns);
    let bpffs = bpffs.map(CString::new).transpose().map_err(|_| anyhow!("a path with a NUL in it"))?;
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed: it makes plain
    // system calls on a descriptor and C strings that exist already, and neither allocates nor locks.
    unsafe { command.pre_exec(move || move_inside(netns.as_fd(), bpffs.as_deref())) };
    Ok(())
}

/// What a new process does before it becomes the program. Makes system calls only.
fn move_inside(netns: BorrowedFd<'_>, bpffs: Option<&CStr>) -> io::Result<()> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
    // SAFETY: this process has one thread (it was just forked), and only its view of mounts changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    // Mounts made here must not show outside; those unmounted outside must go here too.
    mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    unmount(c"/sys", UnmountFlags::DETACH)?;
    mount(c"sysfs", c"/sys", c"sysfs", MountFlags::empty(), None)?;
    if let Some(bpffs) = bpffs {
        mount_bind(bpffs, BPFFS_DIR)?;
    }
    Ok(())
}

/// Identity of a namespace, as its inode number.
pub(super) fn inode(netns: &OwnedFd) -> Result<u64> {
    Ok(rustix::fs::fstat(netns).with_context(|| format!("fstat of descriptor {}", netns.as_raw_fd()))?.st_ino)
}
