//! What the datapath relies on: hosts of the lab receive frames that XDP sends or redirects to them, although they run
//! no XDP program. The programs here are a few instructions each, loaded with bpf(2). Needs root.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::lab::{Direction, End, Host, Lab};

/// Time for what should happen at once on an idle machine.
const SOON: Duration = Duration::from_secs(10);

/// bpf(2) commands, the type of an XDP program and of its attachment (bpf(2)).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// Attach as native XDP or fail (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// The XDP action that sends a frame back.
const XDP_TX: i32 = 3;

/// Helper function `bpf_redirect`.
const BPF_REDIRECT: i32 = 23;

/// Instructions by what they do (RFC 9669: class, operation and source).
const MOVE_CONSTANT: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

const fn instruction(code: u8, register: u8, constant: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, constant }
}

/// First part of `union bpf_attr` for a program load.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
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

/// Runs a program on an interface of the calling thread's namespace, natively, for as long as the result lives.
fn attach(program: &[Instruction], interface_index: u32) -> Result<OwnedFd> {
    let load = ProgramLoad {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: program.len().try_into()?,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
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

fn interface_index(host: &Host, interface: &str) -> Result<u32> {
    host.enter(|| {
        let socket = std::net::UdpSocket::bind("[::]:0")?;
        Ok(rustix::net::netdevice::name_to_index(&socket, interface)?)
    })?
}

fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5];
    frame.extend([0xa5; 200]);
    frame
}

fn is_ours(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x88, 0xb5])
}

#[test]
fn a_host_receives_what_xdp_sends_back_to_it() -> Result<()> {
    let lab = Lab::new("xdptx")?;
    let (a, b) = (lab.host("a")?, lab.host("b")?);
    let _link = lab.link(End::new(&a, "eth0"), End::new(&b, "eth0"))?;
    let index = interface_index(&b, "eth0")?;
    let program = [instruction(MOVE_CONSTANT, 0, XDP_TX), instruction(EXIT, 0, 0)];
    let _attached = b.enter(|| attach(&program, index))??;
    let capture = a.capture("eth0", is_ours)?;
    a.inject("eth0", &frame())?;
    let is_back = |seen: &lb_tests::lab::Frame| seen.direction == Direction::In && seen.bytes == frame();
    capture.wait_until(SOON, |frames| frames.iter().any(is_back))?;
    Ok(())
}

#[test]
fn a_host_receives_what_xdp_redirects_to_it_directly_and_through_a_bridge() -> Result<()> {
    let lab = Lab::new("xdpredirect")?;
    let (client, node, server) = (lab.host("client")?, lab.host("node")?, lab.host("server")?);
    let bridge = lab.bridge("bridge")?;
    let _front = lab.link(End::new(&client, "eth0"), End::new(&node, "front"))?;
    bridge.join(End::new(&node, "back"))?;
    bridge.join(End::new(&server, "eth0"))?;
    let (front, back) = (interface_index(&node, "front")?, interface_index(&node, "back")?);
    for (from, to, sender, sender_interface, receiver) in
        [(front, back, &client, "eth0", &server), (back, front, &server, "eth0", &client)]
    {
        let program = [
            instruction(MOVE_CONSTANT, 1, to.try_into()?),
            instruction(MOVE_CONSTANT, 2, 0),
            instruction(CALL, 0, BPF_REDIRECT),
            instruction(EXIT, 0, 0),
        ];
        let _attached: OwnedFd = node.enter(|| attach(&program, from))??;
        let capture = receiver.capture("eth0", is_ours)?;
        sender.inject(sender_interface, &frame())?;
        let is_there = |seen: &lb_tests::lab::Frame| seen.direction == Direction::In && seen.bytes == frame();
        capture.wait_until(SOON, |frames| frames.iter().any(is_there))?;
    }
    Ok(())
}
