//! Tiny XDP programs from hand-written instructions, loaded with bpf(2): programs of somebody else for the tests.
//!
//! Imports `bpf`. Always holds: a program is attached only as long as the descriptor that it came with is open.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Result;

use crate::bpf;
pub use crate::bpf::Instruction;

/// Runs a program called `name` on an interface of the calling thread's namespace, natively, for as long as the result
/// lives.
///
/// # Errors
/// When the kernel refuses the program, or the interface has one.
pub fn attach(program: &[Instruction], name: &str, interface_index: u32) -> Result<OwnedFd> {
    let program = bpf::load_xdp(program, name)?;
    bpf::attach_xdp(program.as_fd(), interface_index)
}
