//! What the datapath needs of a kernel, found out by asking it: distributions add to old kernels and take from new ones,
//! so that a version says little.
//!
//! Always holds: nothing stays behind in the kernel; what could not be found out is an error, not a guess.

use super::KernelError;
use super::sys::{bpf, bpf_fd};
use aya::maps::MapType;
use aya::programs::{ProgramError, ProgramType};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Something that the datapath cannot do without.
#[derive(Clone, Copy)]
pub struct Need {
    /// Its name, for the message.
    pub what: &'static str,
    /// The Linux version that brought it, for the message.
    pub since: &'static str,
    /// Asks the kernel.
    pub ask: fn() -> io::Result<bool>,
}

/// All that the datapath cannot do without, the oldest first.
pub const NEEDS: [Need; 11] = [
    Need { what: "XDP programs", since: "4.8", ask: xdp_programs },
    Need { what: "LRU hash maps", since: "4.10", ask: || map(MapType::LruHash) },
    Need { what: "longest-prefix maps", since: "4.11", ask: || map(MapType::LpmTrie) },
    Need { what: "redirects through a map", since: "4.14", ask: || helper(BpfHelper::BPF_FUNC_redirect_map) },
    Need {
        what: "the FIB lookup of XDP programs",
        since: "4.18",
        ask: || helper(BpfHelper::BPF_FUNC_fib_lookup),
    },
    Need { what: "hash maps of devices", since: "5.4", ask: || map(MapType::DevMapHash) },
    Need { what: "arrays in shared memory", since: "5.5", ask: || is_mmapable(MapType::Array) },
    Need { what: "batched calls on LRU hash maps", since: "5.6", ask: || takes_batches(MapType::LruHash) },
    Need { what: "ring buffers", since: "5.8", ask: || map(MapType::RingBuf) },
    Need { what: "XDP links", since: "5.9", ask: || has_links(ATTACH_XDP) },
    Need {
        what: "the coarse clock for XDP programs",
        since: "5.11",
        ask: || helper(BpfHelper::BPF_FUNC_ktime_get_coarse_ns),
    },
];

/// Checks that this kernel has all of [`NEEDS`].
///
/// # Errors
/// [`KernelError::Lacks`], which names all that is missing, or [`KernelError::Probe`].
pub fn check() -> Result<(), KernelError> {
    check_all(&NEEDS)
}

fn check_all(needs: &[Need]) -> Result<(), KernelError> {
    let mut missing = Vec::new();
    for need in needs {
        match (need.ask)() {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{} (Linux {})", need.what, need.since)),
            Err(source) => return Err(KernelError::Probe { what: need.what, source }),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Err(KernelError::Lacks { release, missing: missing.join(", ") })
}

/// Whether XDP programs can be loaded that take packets of several buffers (`xdp.frags`, Linux 5.18): without, native XDP
/// is limited to packets of a page.
///
/// # Errors
/// [`KernelError::Probe`].
pub fn has_fragments() -> Result<bool, KernelError> {
    let what = "XDP programs for packets of several buffers";
    supported(load_xdp(XDP_HAS_FRAGS)).map_err(|source| KernelError::Probe { what, source })
}

fn xdp_programs() -> io::Result<bool> {
    is_program_supported(ProgramType::Xdp).map_err(system_error)
}

fn helper(helper: BpfHelper) -> io::Result<bool> {
    is_helper_supported(ProgramType::Xdp, helper).map_err(system_error)
}

fn system_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

fn map(map_type: MapType) -> io::Result<bool> {
    is_map_supported(map_type).map_err(|error| error.io_error)
}

/// Whether maps of a type can be seen as memory.
///
/// # Errors
/// When the kernel's answer is neither yes nor no, such as for want of privileges.
pub fn is_mmapable(map_type: MapType) -> io::Result<bool> {
    supported(create_map(map_type, F_MMAPABLE))
}

/// Whether several entries of a map of this type can be read by one call.
///
/// # Errors
/// As [`is_mmapable`].
pub fn takes_batches(map_type: MapType) -> io::Result<bool> {
    let map = create_map(map_type, 0)?;
    // No entry is asked for, so there is nothing to write to.
    let mut attr = Lookup { map_fd: descriptor(&map), ..Lookup::default() };
    // SAFETY: the part of `union bpf_attr` for this command; for 0 entries no address is used.
    supported(unsafe { bpf(MAP_LOOKUP_BATCH, &mut attr) })
}

/// Whether programs can be attached by a link of this type (`enum bpf_attach_type`).
///
/// # Errors
/// As [`is_mmapable`].
pub fn has_links(attach_type: u32) -> io::Result<bool> {
    let program = load_xdp(0)?;
    // The loopback interface is there in every namespace and has no native XDP: a kernel that knows such links says so.
    // Would one attach, it would pass every packet, until the descriptor is closed right away.
    let mut attr = LinkCreate {
        program_fd: descriptor(&program),
        interface: LOOPBACK,
        attach_type,
        flags: XDP_FLAGS_DRIVER_MODE,
    };
    // SAFETY: the part of `union bpf_attr` for this command, without addresses.
    let answer = unsafe { bpf_fd(LINK_CREATE, &mut attr) }.map(drop);
    match answer {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EBUSY | libc::EEXIST)) => {
            Ok(true)
        }
        other => supported(other),
    }
}

/// A kernel that does not know a command, a type, a flag or an attribute answers EINVAL or E2BIG, and ENOTSUPP for a map
/// without the operation.
fn supported<T>(answer: io::Result<T>) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP | ENOTSUPP) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Commands (`enum bpf_cmd`, include/uapi/linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const MAP_LOOKUP_BATCH: libc::c_long = 24;
const LINK_CREATE: libc::c_long = 28;

/// `BPF_PROG_TYPE_XDP`.
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_XDP`, the type of XDP links.
pub const ATTACH_XDP: u32 = 37;
/// `BPF_F_MMAPABLE`.
const F_MMAPABLE: u32 = 1 << 10;
/// `BPF_F_XDP_HAS_FRAGS`.
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `XDP_FLAGS_DRV_MODE` (`include/uapi/linux/if_link.h`).
const XDP_FLAGS_DRIVER_MODE: u32 = 1 << 2;
/// Index of the loopback interface in every namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;
/// What the kernel's maps answer to commands that they have not got (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// `r0 = XDP_PASS; exit`, as RFC 9669 encodes it, little endian or big.
const PASS: [u64; 2] =
    [u64::from_ne_bytes([0xb7, 0, 0, 0, 2, 0, 0, 0]), u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0])];

/// The start of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for batched commands.
#[repr(C)]
#[derive(Default)]
struct Lookup {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// The start of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

fn create_map(map_type: MapType, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate { map_type: map_type as u32, key_size: 4, value_size: 8, max_entries: 1, flags };
    // SAFETY: the part of `union bpf_attr` for this command, without addresses.
    unsafe { bpf_fd(MAP_CREATE, &mut attr) }
}

fn load_xdp(flags: u32) -> io::Result<OwnedFd> {
    let mut attr = ProgramLoad {
        program_type: PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel_version: 0,
        flags,
    };
    // SAFETY: the part of `union bpf_attr` for this command; instructions and licence are constants.
    unsafe { bpf_fd(PROG_LOAD, &mut attr) }
}

fn descriptor(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Need = Need { what: "a thing", since: "4.1", ask: || Ok(true) };

    #[test]
    fn everything_that_is_missing_is_named_with_the_version_that_brought_it() {
        let missing = Need { what: "another thing", since: "5.5", ask: || Ok(false) };
        let last = Need { what: "a third", since: "5.11", ask: || Ok(false) };
        assert!(check_all(&[THERE]).is_ok());
        let error = check_all(&[missing, THERE, last]).unwrap_err().to_string();
        assert!(error.contains("another thing (Linux 5.5), a third (Linux 5.11)"), "{error}");
        assert!(!error.contains("a thing"), "{error}");
    }

    #[test]
    fn a_question_that_gets_no_answer_is_an_error_and_no_guess() {
        let refused =
            Need { what: "a secret", since: "5.5", ask: || Err(io::Error::from_raw_os_error(libc::EPERM)) };
        let error = check_all(&[THERE, refused]).unwrap_err().to_string();
        assert!(error.contains("a secret") && error.contains("CAP_BPF"), "{error}");
    }

    #[test]
    fn only_what_kernels_say_to_the_unknown_is_a_no() {
        let answer = |code| supported::<()>(Err(io::Error::from_raw_os_error(code)));
        for no in [libc::EINVAL, libc::E2BIG, ENOTSUPP] {
            assert!(!answer(no).unwrap());
        }
        for unclear in [libc::EPERM, libc::ENOMEM, libc::EMFILE] {
            assert_eq!(answer(unclear).unwrap_err().raw_os_error(), Some(unclear));
        }
    }
}
