//! bpf(2), as far as the lab needs it: programs of a few instructions, links, pinned maps, and packets injected.
//!
//! Imports nothing of ours. Always holds: every attribute struct is the start of `union bpf_attr` for its command.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Commands (`enum bpf_cmd`).
const PROG_LOAD: libc::c_int = 5;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const MAP_NEXT_KEY: libc::c_int = 4;
const OBJ_GET: libc::c_int = 7;
const PROG_TEST_RUN: libc::c_int = 10;
const MAP_GET_NEXT_ID: libc::c_int = 12;
const LINK_CREATE: libc::c_int = 28;

/// Type of an XDP program, and of its attachment.
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// Attach as native XDP or fail (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// Carry out what the program decides (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).
const LIVE_FRAMES: u32 = 1 << 1;

/// Longest name of a program, with its closing zero (`BPF_OBJ_NAME_LEN`).
const NAME_BYTES: usize = 16;

/// One instruction (RFC 9669, section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and source.
    pub code: u8,
    /// Destination (low half) and source register.
    pub registers: u8,
    /// Offset of a jump or access.
    pub offset: i16,
    /// Constant.
    pub constant: i32,
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version_and_flags: u64,
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct NextId {
    start: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct MapElement {
    map: u32,
    zero: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_in_bytes: u32,
    data_out_bytes: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_bytes: u32,
    context_out_bytes: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    zero: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is the start of `union bpf_attr` for `command`; the kernel takes the rest as zero, since it
    // is told the size, and may write to it, since it is borrowed mutably. What it points to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<T>())
    };
    match libc::c_int::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

fn bpf_fd<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the commands this is used for return a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads an XDP program.
pub(crate) fn load_xdp(program: &[Instruction], name: &str) -> Result<OwnedFd> {
    let mut bytes = [0; NAME_BYTES];
    bytes.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)).for_each(|(to, from)| *to = from);
    let mut load = ProgramLoad {
        program_type: PROG_TYPE_XDP,
        instruction_count: program.len().try_into()?,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log: [0; 2],
        kernel_version_and_flags: 0,
        name: bytes,
    };
    bpf_fd(PROG_LOAD, &mut load).context("loading the program")
}

/// Runs an XDP program on an interface of the calling thread's namespace, natively, as long as the result lives.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, interface_index: u32) -> Result<OwnedFd> {
    let mut link = LinkCreate {
        program: program.as_raw_fd().try_into()?,
        interface_index,
        attach_type: ATTACH_XDP,
        flags: NATIVE,
    };
    bpf_fd(LINK_CREATE, &mut link).context("attaching the program")
}

/// Runs an XDP program `repeat` times on frames that begin as `frame`, in the calling thread's namespace, and lets the
/// kernel carry out what it decides. Frames are used again as they were left: the program has to write what it needs.
pub(crate) fn inject(program: BorrowedFd<'_>, frame: &[u8], repeat: u32, batch_size: u32) -> io::Result<()> {
    let mut run = TestRun {
        program: program.as_raw_fd().unsigned_abs(),
        data_in_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        data_in: frame.as_ptr() as u64,
        repeat,
        flags: LIVE_FRAMES,
        batch_size,
        ..TestRun::default()
    };
    bpf(PROG_TEST_RUN, &mut run).map(drop)
}

/// Runs an XDP program once on a copy of `frame`, in the calling thread's namespace; nothing is carried out. Returns the
/// XDP action and the length of the frame afterwards, which is in `out`.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], out: &mut [u8]) -> io::Result<(u32, usize)> {
    let mut run = TestRun {
        program: program.as_raw_fd().unsigned_abs(),
        data_in_bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        data_out_bytes: u32::try_from(out.len()).unwrap_or(u32::MAX),
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    bpf(PROG_TEST_RUN, &mut run)?;
    Ok((run.result, run.data_out_bytes as usize))
}

/// What is done with an entry of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its value is read.
    Lookup,
    /// Its value is written.
    Update,
    /// The key behind it is read, in place of a value; behind no key, the first one.
    NextKey,
}

/// Reads or writes an entry of a map, or the key behind it. False if there is none. Key and value are as long as the map's;
/// a per-CPU map's value has a part for each possible CPU, a multiple of eight bytes long.
///
/// # Safety
/// The lengths are as said: the kernel goes by the map's, not by the slices'.
pub(crate) unsafe fn map_element(
    map: BorrowedFd<'_>,
    access: Access,
    key: Option<&[u8]>,
    value: &mut [u8],
) -> io::Result<bool> {
    let command = match access {
        Access::Lookup => MAP_LOOKUP,
        Access::Update => MAP_UPDATE,
        Access::NextKey => MAP_NEXT_KEY,
    };
    let mut element = MapElement {
        map: map.as_raw_fd().unsigned_abs(),
        zero: 0,
        key: key.map_or(0, |key| key.as_ptr() as u64),
        value_or_next_key: value.as_mut_ptr() as u64,
        flags: 0,
    };
    found(bpf(command, &mut element))
}

/// Takes an entry out of a hash map. False if there is none.
///
/// # Safety
/// The key is as long as the map's.
pub(crate) unsafe fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut element = MapElement {
        map: map.as_raw_fd().unsigned_abs(),
        zero: 0,
        key: key.as_ptr() as u64,
        value_or_next_key: 0,
        flags: 0,
    };
    found(bpf(MAP_DELETE, &mut element))
}

/// Whether the kernel has a map with this id. The map is not opened for it: whoever opens and closes a table of programs
/// while the kernel empties it, because its last pin or descriptor went, makes the kernel keep the table for ever (the work
/// that empties it takes a reference each time it is asked for and gives back one each time it runs; Linux 6.18).
///
/// # Errors
/// Without the right to ask.
pub fn map_exists(id: u32) -> io::Result<bool> {
    let Some(start) = id.checked_sub(1) else { return Ok(false) };
    let mut ids = NextId { start, next: 0, flags: 0 };
    Ok(found(bpf(MAP_GET_NEXT_ID, &mut ids))? && ids.next == id)
}

fn found(result: io::Result<libc::c_int>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a pinned map; returns it and its number of entries.
pub(crate) fn open_pinned(path: &Path) -> Result<(OwnedFd, usize)> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // Not BPF_F_RDONLY: the kernel maps an array only through a descriptor that may write (Linux 6.18, mmap(2) takes
    // VM_SHARED away from one that may not, which bpf_map_mmap refuses).
    let mut get = ObjectGet { path: name.as_ptr() as u64, fd: 0, flags: 0 };
    let fd = bpf_fd(OBJ_GET, &mut get).with_context(|| format!("opening the pin {}", path.display()))?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let entries = info.lines().find_map(|line| line.strip_prefix("max_entries:"));
    let entries = entries.with_context(|| format!("{} is no map", path.display()))?.trim().parse()?;
    Ok((fd, entries))
}
