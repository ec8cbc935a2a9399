//! Where maps and links are pinned, and the bpffs under it.

use super::{KernelError, Layout};
use lb_common::abi::ABI_VERSION;
use std::path::{Path, PathBuf};

/// Magic number of bpffs (`BPF_FS_MAGIC`, include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where bpffs is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// What the names of tables of stages begin with.
const STAGES_PREFIX: &str = "stages-";

/// The pins of one ABI version.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The pins under `root`, a directory on a bpffs (`node.bpffs`).
    pub fn new(root: &Path) -> Self {
        Self { directory: root.join(format!("v{ABI_VERSION}")) }
    }

    /// Makes the directory; mounts a bpffs when there is none. Returns where it mounted one.
    ///
    /// # Errors
    /// When mounting or making the directory fails.
    pub fn prepare(&self) -> Result<Option<PathBuf>, KernelError> {
        let mounted = if on_bpffs(&self.directory) { None } else { Some(self.mount()?) };
        std::fs::create_dir_all(&self.directory)
            .map_err(|source| KernelError::Pins { path: self.directory.clone(), source })?;
        Ok(mounted)
    }

    fn mount(&self) -> Result<PathBuf, KernelError> {
        let point = if self.directory.starts_with(BPFFS) {
            PathBuf::from(BPFFS)
        } else {
            self.directory.parent().map_or_else(|| self.directory.clone(), Path::to_path_buf)
        };
        let failed = |source| KernelError::Mount { path: point.clone(), source };
        if !point.starts_with("/sys") {
            std::fs::create_dir_all(&point).map_err(failed)?;
        }
        rustix::mount::mount("bpf", &point, "bpf", rustix::mount::MountFlags::empty(), None)
            .map_err(|error| failed(error.into()))?;
        Ok(point)
    }

    /// Whether the directory is there.
    pub fn exist(&self) -> bool {
        self.directory.is_dir()
    }

    /// Keeps other agents off these pins until the file is closed.
    ///
    /// # Errors
    /// [`KernelError::Busy`] when somebody has them.
    pub fn lock(&self) -> Result<std::fs::File, KernelError> {
        let failed = |source| KernelError::Pins { path: self.directory.clone(), source };
        let directory = std::fs::File::open(&self.directory).map_err(failed)?;
        match rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(directory),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(KernelError::Busy { path: self.directory.clone() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where the map `name` is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the link of an interface is pinned. bpffs allows no dots in names; `%` is in no interface's name.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.directory.join(format!("link-{}", interface.replace('.', "%")))
    }

    /// Where the table of stages of a load is pinned.
    pub(super) fn stage(&self, generation: u32, layout: Layout) -> PathBuf {
        let kind = match layout {
            Layout::Whole => "whole",
            Layout::Pieces => "pieces",
        };
        self.directory.join(format!("{STAGES_PREFIX}{generation}-{kind}"))
    }

    /// Tables of stages that are pinned, each with the number of its load.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is missing has none.
    pub(super) fn stages(&self) -> Result<Vec<(u32, PathBuf)>, KernelError> {
        let numbered = |name: String| {
            let number = name.strip_prefix(STAGES_PREFIX)?.split('-').next()?.parse().ok()?;
            Some((number, self.directory.join(name)))
        };
        Ok(self.names()?.into_iter().filter_map(numbered).collect())
    }

    /// Interfaces that have a pinned link.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is missing has none.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, KernelError> {
        let interface = |name: String| Some(name.strip_prefix("link-")?.replace('%', "."));
        let mut interfaces: Vec<String> = self.names()?.into_iter().filter_map(interface).collect();
        interfaces.sort();
        Ok(interfaces)
    }

    /// Names of everything that is pinned.
    fn names(&self) -> Result<Vec<String>, KernelError> {
        let failed = |source| KernelError::Pins { path: self.directory.clone(), source };
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    /// Removes a pin; whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(path: &Path) -> Result<bool, KernelError> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(KernelError::Pins { path: path.to_path_buf(), source }),
        }
    }

    /// Takes the program of a link off its interface and removes the pin; whether it was there.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn remove_link(path: &Path) -> Result<bool, KernelError> {
        // If the kernel cannot do it now, it does it a moment after the pin is gone.
        if let Err(error) = super::sys::detach_link(path) {
            tracing::debug!("{}: {error}", path.display());
        }
        Self::remove(path)
    }

    /// Removes the directory, which has to be empty; its parent too if nothing else is in it.
    pub fn remove_directory(&self) {
        // Both are left when something else is in them: not ours to judge.
        let _ = std::fs::remove_dir(&self.directory);
        if let Some(parent) = self.directory.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }
}

/// Whether `path`, or the nearest directory above it that exists, is on a bpffs.
fn on_bpffs(path: &Path) -> bool {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing
        .and_then(|directory| rustix::fs::statfs(directory).ok())
        .is_some_and(|fs| u64::try_from(fs.f_type).is_ok_and(|magic| magic & 0xffff_ffff == BPF_FS_MAGIC))
}
