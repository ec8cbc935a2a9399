//! Debian's cloud kernel, unpacked: the kernel to boot and the modules that the tests need.
//!
//! Role: `Kernel` in, files out. Imports `archive`, `emulator` (for busybox's depmod).
//! Always holds: a module that is neither built in nor packaged is an error, never left out.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::archive::Archive;
use super::emulator::Emulator;
use super::{Kernel, directory};

/// Metapackage of the kernel for virtual machines.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// Modules that the tests use.
const MODULES: [&str; 5] = ["veth", "bridge", "tun", "8021q", "bonding"];

/// A kernel, unpacked.
pub struct Image {
    /// Its release, such as `6.1.0-56-cloud-amd64`.
    release: String,
    root: PathBuf,
    modules: PathBuf,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.root.display();
        write!(f, "Debian's linux-image-{} from {root} (remove that to fetch the newest)", self.release)
    }
}

impl Image {
    /// Debian's newest of a series, or the one that was fetched before.
    ///
    /// # Errors
    /// When it cannot be fetched or is not what it should be.
    pub fn of(kernel: Kernel, emulator: &Emulator) -> Result<Self> {
        let directory = directory().join(kernel.version());
        let root = directory.join("linux");
        if !root.is_dir() {
            let archive = Archive::open(&directory.join("apt"), kernel.debian())?;
            let package = archive.behind(METAPACKAGE, "linux-image-")?;
            archive.unpack(&[&package], false, &root)?;
        }
        let release = release(&root)?;
        ensure!(
            release.strip_prefix(kernel.version()).is_some_and(|rest| rest.starts_with('.')),
            "Debian {} has Linux {release} now, which is not of {kernel}",
            kernel.debian()
        );
        let image = Self { modules: modules_directory(&root, &release)?, release, root };
        image.index_modules(emulator)?;
        Ok(image)
    }

    /// The kernel to boot.
    pub fn vmlinuz(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The modules that the tests need, in the order in which they have to be loaded.
    ///
    /// # Errors
    /// When this kernel has not got one.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let files = load_order(&MODULES, &read("modules.dep")?, &read("modules.builtin")?)?;
        Ok(files.into_iter().map(|file| self.modules.join(file)).collect())
    }

    /// Makes modules.dep, which Debian makes when a kernel is installed.
    fn index_modules(&self, emulator: &Emulator) -> Result<()> {
        if self.modules.join("modules.dep").is_file() {
            return Ok(());
        }
        // depmod looks for lib/modules below its base, and Debian 13's packages have theirs below usr/lib.
        let base = self.modules.ancestors().nth(3).context("a directory of modules has three parents")?;
        let mut depmod = Command::new(emulator.busybox());
        depmod.arg("depmod").arg("-b").arg(base).arg(&self.release);
        let status = depmod.status().context("cannot start busybox")?;
        ensure!(status.success(), "busybox depmod failed for {} ({status})", base.display());
        Ok(())
    }
}

/// The release that an unpacked package boots.
fn release(root: &Path) -> Result<String> {
    let boot = root.join("boot");
    for entry in fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            return Ok(release.to_owned());
        }
    }
    bail!("no kernel in {}: remove {} and try again", boot.display(), root.display())
}

fn modules_directory(root: &Path, release: &str) -> Result<PathBuf> {
    let candidates = ["lib/modules", "usr/lib/modules"].map(|parent| root.join(parent).join(release));
    let found = candidates.into_iter().find(|path| path.is_dir());
    found.with_context(|| format!("no modules of {release} below {}", root.display()))
}

/// The files of `names` and of what they depend on, dependencies first; nothing for what is built in.
fn load_order(names: &[&str], modules_dep: &str, builtin: &str) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for name in names {
        if builtin.lines().any(|file| is_module(file, name)) {
            continue;
        }
        let line = modules_dep.lines().filter_map(|line| line.split_once(':'));
        let (file, dependencies) = line
            .into_iter()
            .find(|(file, _)| is_module(file, name))
            .with_context(|| format!("this kernel has no module {name}, neither built in nor packaged"))?;
        // Each stands before what it depends on itself.
        for file in dependencies.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|there| there == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// Whether `file` (`kernel/drivers/net/veth.ko.xz`) is the module `name`.
fn is_module(file: &str, name: &str) -> bool {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split_once(".ko").is_some_and(|(stem, _)| stem.replace('-', "_") == name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/net/veth.ko:\n\
                       kernel/net/a/vport-vxlan.ko.xz: kernel/d/vxlan.ko.xz kernel/u/udp_tunnel.ko.xz\n\
                       kernel/d/vxlan.ko.xz: kernel/u/udp_tunnel.ko.xz\n";

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_once() {
        let order = load_order(&["vport_vxlan", "vxlan", "veth"], DEP, "").unwrap();
        let wanted = [
            "kernel/u/udp_tunnel.ko.xz",
            "kernel/d/vxlan.ko.xz",
            "kernel/net/a/vport-vxlan.ko.xz",
            "kernel/drivers/net/veth.ko",
        ];
        assert_eq!(order, wanted);
    }

    #[test]
    fn what_is_built_in_is_not_loaded_and_what_is_missing_is_named() {
        assert_eq!(load_order(&["veth"], "", "kernel/drivers/net/veth.ko\n").unwrap(), [""; 0]);
        let error = load_order(&["vlan"], DEP, "").unwrap_err().to_string();
        assert!(error.contains("module vlan"), "{error}");
    }
}
