//! What is in the kernel, asked without any code of ours, and a program of somebody else.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::Host;
use serde_json::Value;

/// bpf(2) commands, the type of an XDP program and of its attachment.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// Name of the program of somebody else.
pub const FOREIGN_NAME: &str = "firewall";

/// `r0 = XDP_PASS; exit` (RFC 9669).
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// First part of `union bpf_attr` for a program load.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version_and_flags: u64,
    name: [u8; 16],
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
    // SAFETY: `attributes` is the start of `union bpf_attr` for `command`, whose size the kernel is told; what it points
    // to outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), std::mem::size_of::<T>())
    };
    match i32::try_from(result) {
        // SAFETY: both commands used here return a new descriptor, which nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts somebody else's XDP program on an interface, for as long as the result lives.
pub fn attach_foreign(host: &Host, interface: &str) -> Result<OwnedFd> {
    let mut name = [0; 16];
    name.iter_mut().zip(FOREIGN_NAME.bytes()).for_each(|(to, from)| *to = from);
    let load = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: PASS.len().try_into()?,
        instructions: PASS.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        log: [0; 2],
        kernel_version_and_flags: 0,
        name,
    };
    let program = bpf(BPF_PROG_LOAD, &load).context("loading the program")?;
    let interface_index = interface_json(host, interface)?["ifindex"].as_u64().context("no index")?;
    let link = LinkCreate {
        program: program.as_raw_fd().try_into()?,
        interface_index: interface_index.try_into()?,
        attach_type: BPF_XDP,
        flags: 0,
    };
    host.enter(|| bpf(BPF_LINK_CREATE, &link))?.context("attaching the program")
}

fn interface_json(host: &Host, interface: &str) -> Result<Value> {
    let text = host.ip(&format!("-json -details link show dev {interface}"))?;
    let all: Value = serde_json::from_str(&text)?;
    Ok(all[0].clone())
}

/// Id of the XDP program on an interface.
pub fn program_id(host: &Host, interface: &str) -> Result<Option<u64>> {
    Ok(interface_json(host, interface)?["xdp"]["prog"]["id"].as_u64())
}

/// Addresses of an interface, without prefix lengths.
pub fn addresses(host: &Host, interface: &str) -> Result<Vec<String>> {
    let text = host.ip(&format!("-json address show dev {interface}"))?;
    let all: Value = serde_json::from_str(&text)?;
    let addresses = all[0]["addr_info"].as_array().cloned().unwrap_or_default();
    Ok(addresses.iter().filter_map(|address| Some(address["local"].as_str()?.to_owned())).collect())
}

/// Every pin under a directory, sorted; none when there is no such directory.
pub fn pins(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pins(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The pin of an interface's link.
pub fn link_pin(directory: &Path, interface: &str) -> Result<PathBuf> {
    let name = format!("link-{interface}");
    let mut all = pins(directory)?.into_iter();
    all.find(|pin| pin.ends_with(&name)).with_context(|| format!("no {name} under {}", directory.display()))
}

/// The kernel's id of what is pinned. `kind` is `map` or `link`.
pub fn id_of_pin(kind: &str, pin: &Path) -> Result<u64> {
    let mut command = Command::new("bpftool");
    command.args(["-j", kind, "show", "pinned"]).arg(pin);
    let output = command.output().context("running bpftool")?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stdout));
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    shown["id"].as_u64().with_context(|| format!("{}: {shown}", pin.display()))
}

/// Whether the kernel still has a map with this id.
pub fn map_exists(id: u64) -> Result<bool> {
    let output = Command::new("bpftool").args(["-j", "map", "show", "id", &id.to_string()]).output()?;
    Ok(output.status.success())
}
