//! `cargo xtask test --kernel VERSION`: the kernel tier on Debian's kernels, booted under emulation.
//!
//! Role: brings the parts together: packages (`archive`, `image`, `emulator`), test binaries (`binaries`), the root file
//! system that holds them (`initramfs`), the machine (`machine`) and what it says (`console`). Imports `setup`,
//! `workspace`, `progress` and its siblings `tally` and `tiers`.
//! Always holds: nothing is installed on the host, everything is below `target/kernels`; a machine that does not say
//! that it ran every test has failed; no emulator outlives this process.

mod archive;
mod binaries;
mod console;
mod emulator;
mod image;
mod initramfs;
mod machine;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::TestArgs;
use super::tally::Tally;
use super::tiers::Outcome;
use crate::workspace;
use console::Console;
use machine::Machine;

/// A kernel that Debian packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Debian 12's
    #[value(name = "6.1")]
    Linux6_1,
    /// Debian 13's
    #[value(name = "6.12")]
    Linux6_12,
}

impl Kernel {
    /// Its version, as an argument and as the name of its directory.
    fn version(self) -> &'static str {
        match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
        }
    }

    /// Code name of the Debian release whose kernel it is.
    fn debian(self) -> &'static str {
        match self {
            Self::Linux6_1 => "bookworm",
            Self::Linux6_12 => "trixie",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.version())
    }
}

/// Where packages, emulator and images are kept.
fn directory() -> PathBuf {
    workspace::target_dir().join("kernels")
}

/// Runs the tests of this tier on one kernel.
///
/// # Errors
/// When a package cannot be had, the tests cannot be built or the machine cannot be started.
pub fn run(kernel: Kernel, args: &TestArgs) -> Result<(Outcome, Tally)> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!(
            "--kernel boots kernels for amd64 with the test binaries of this machine: it needs an x86-64 Linux"
        );
    }
    let tests = binaries::build()?;
    let emulator = emulator::Emulator::at(&directory().join("emulator"))?;
    let image = image::Image::of(kernel, &emulator)?;
    println!("  {image}");
    let initrd = initramfs::write(&directory().join(kernel.version()), &tests, &image, &emulator, args)?;
    let machine = Machine { emulator: &emulator, image: &image, initrd: &initrd };
    let mut console = Console::expecting(tests.targets());
    machine.run(|line| {
        if let Some(shown) = console.take(line) {
            println!("{shown}");
        }
        console.stage()
    })?;
    let (outcome, tally) = console.verdict();
    if matches!(outcome, Outcome::Failed) {
        println!("{}", machine.last_words());
    }
    Ok((outcome, tally))
}
