//! Tiny XDP programs from hand-written instructions, loaded with bpf(2): programs of somebody else for the tests.
//!
//! Imports nothing of ours. Always holds: a program is attached only as long as the descriptor that it came with is open.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// bpf(2) commands, the type of an XDP program and of its attachment (bpf(2)).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// Attach as native XDP or fail (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// Longest name of a program, with its closing zero (`BPF_OBJ_NAME_LEN`).
const NAME_BYTES: usize = 16;

/// One instruction (RFC 9669, section 3).
#[repr(C)]
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

/// First part of `union bpf_attr` for a program load.
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

/// First part of `union bpf_attr` for a new link.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is the start of `union bpf_attr` for `command`; the kernel takes the rest as zero, since it
    // is told the size. What it points to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), std::mem::size_of::<T>())
    };
    match i32::try_from(result) {
        // SAFETY: both commands used here return a new descriptor, which nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a program called `name` on an interface of the calling thread's namespace, natively, for as long as the result
/// lives.
///
/// # Errors
/// When the kernel refuses the program, or the interface has one.
pub fn attach(program: &[Instruction], name: &str, interface_index: u32) -> Result<OwnedFd> {
    let mut bytes = [0; NAME_BYTES];
    bytes.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)).for_each(|(to, from)| *to = from);
    let load = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: program.len().try_into()?,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log: [0; 2],
        kernel_version_and_flags: 0,
        name: bytes,
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("loading the program")?;
    let link = LinkCreate {
        program: program.as_raw_fd().try_into()?,
        interface_index,
        attach_type: BPF_XDP,
        flags: NATIVE,
    };
    bpf(BPF_LINK_CREATE, &link).context("attaching the program")
}
