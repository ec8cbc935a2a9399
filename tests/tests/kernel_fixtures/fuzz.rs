//! The kernel's side of the fuzzer: a loaded program in namespaces of its own.

use super::bed::{Bed, own_namespaces};
use anyhow::Context as _;
use lb_common::abi::ABI_VERSION;
use lb_tests::fixtures::{EGRESS, World, world};
use lb_tests::fuzz::{FLOWS, Kernel};
use lb_userspace::dataplane::kernel::{Layout, LogLevel};
use std::os::fd::AsFd as _;

/// Runs `work` in a thread with namespaces of its own, over a loaded program with the fixtures' world in its maps. The hash
/// key is the host's, so that packets go the same ways in every run.
///
/// # Errors
/// Those of `work`, and when the program cannot be loaded.
pub fn with_kernel<T: Send>(
    work: impl FnOnce(&World, &mut Kernel) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "the kernel's side needs root");
    let in_thread = move || {
        own_namespaces()?;
        // A bpffs of its own goes with the mount namespace, and the pins with it, however a long run is ended.
        rustix::mount::mount("bpf", "/sys/fs/bpf", "bpf", rustix::mount::MountFlags::empty(), None)
            .context("mounting a bpffs")?;
        let mut bed = Bed::sized(LogLevel::Off, FLOWS, Some(world().hash_key))?;
        bed.allow_redirects_to(EGRESS)?;
        let program = bed.dataplane.program(Layout::Whole)?.fd().context("the program's descriptor")?;
        let program = program.as_fd().try_clone_to_owned()?;
        let pins = bed.pinned.0.join(format!("v{ABI_VERSION}"));
        let mut kernel = Kernel::new(program, &pins, bed.world())?;
        work(bed.world(), &mut kernel)
    };
    let joined = std::thread::scope(|scope| scope.spawn(in_thread).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
