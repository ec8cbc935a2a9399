//! The emulator and the shell of the emulated machine, unpacked from Debian's packages and never installed.
//!
//! Role: a directory with QEMU, everything it loads, and a static busybox. Imports `archive`.
//! Always holds: its programs run with the libraries beside them, so the host's versions do not matter.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::archive::Archive;

/// Release that the packages are taken from.
const RELEASE: &str = "bookworm";

/// What is needed; apt adds what these depend on.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "busybox-static"];

/// Debian's directory for libraries.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// A complete emulator.
pub struct Emulator {
    root: PathBuf,
}

impl Emulator {
    /// The one in `directory`, which is filled if it is not there yet.
    ///
    /// # Errors
    /// When the packages cannot be had.
    pub fn at(directory: &Path) -> Result<Self> {
        let emulator = Self { root: directory.join("root") };
        if !emulator.root.is_dir() {
            Archive::open(&directory.join("apt"), RELEASE)?.unpack(&PACKAGES, true, &emulator.root)?;
        }
        for file in [emulator.busybox(), emulator.loader(), emulator.program()] {
            ensure!(file.is_file(), "no {}: remove {} and try again", file.display(), directory.display());
        }
        Ok(emulator)
    }

    /// A static busybox, which runs here and on the emulated machine.
    pub fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    fn loader(&self) -> PathBuf {
        self.root.join(LIBRARIES).join("ld-linux-x86-64.so.2")
    }

    fn program(&self) -> PathBuf {
        self.root.join("usr/bin/qemu-system-x86_64")
    }

    /// The emulator with its own libraries, modules and firmware; arguments for a machine are the caller's.
    pub fn command(&self) -> Command {
        let (libraries, more) = (self.root.join(LIBRARIES), self.root.join("usr").join(LIBRARIES));
        let mut path = OsString::from(libraries);
        path.push(":");
        path.push(&more);
        let mut command = Command::new(self.loader());
        command.env("QEMU_MODULE_DIR", more.join("qemu"));
        command.arg("--library-path").arg(path).arg(self.program());
        command.arg("-L").arg(self.root.join("usr/share/qemu"));
        command.arg("-L").arg(self.root.join("usr/share/seabios"));
        command
    }
}
