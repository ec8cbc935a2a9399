//! Removing what a lab made: processes, then namespaces, then mounts and files.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::owner::Owner;
use super::{namespace, tool, wait};

/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";

/// Time that the processes of a namespace have to end after SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Rounds of killing what runs in a namespace: a process may fork while it is looked for.
const MAX_KILL_ROUNDS: usize = 16;

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Namespaces, by name.
    pub namespaces: Vec<String>,
    /// Directories with logs and mounts.
    pub directories: Vec<PathBuf>,
}

/// Removes what dead owners left. Also makes `labs_dir`.
pub(super) fn sweep(labs_dir: &Path) -> Result<Swept> {
    make_labs_dir(labs_dir)?;
    let lock_path = labs_dir.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .with_context(|| format!("opening {}", lock_path.display()))?;
    // Two sweeps at once would race to remove the same things. The lock goes with the descriptor.
    lock.lock()?;
    let is_left_over = |name: &str| Owner::of(name).is_some_and(|owner| !owner.is_alive());
    remove(&is_left_over, labs_dir)
}

/// Removes everything of one lab.
pub(super) fn remove_lab(id: &str, labs_dir: &Path) -> Result<Swept> {
    let is_ours = |name: &str| name == id || name.strip_prefix(id).is_some_and(|rest| rest.starts_with('-'));
    remove(&is_ours, labs_dir)
}

/// Removes every namespace and directory whose name `chosen` accepts. Goes on after an error, and reports the first.
fn remove(chosen: &dyn Fn(&str) -> bool, labs_dir: &Path) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut result = Ok(());
    for name in names_in(Path::new(NETNS_DIR))?.into_iter().filter(|name| chosen(name)) {
        match remove_namespace(&name).with_context(|| format!("removing namespace {name}")) {
            Ok(()) => swept.namespaces.push(name),
            Err(error) => result = result.and(Err(error)),
        }
    }
    for name in names_in(labs_dir)?.into_iter().filter(|name| chosen(name)) {
        let path = labs_dir.join(name);
        match remove_directory(&path).with_context(|| format!("removing {}", path.display())) {
            Ok(()) => swept.directories.push(path),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.map(|()| swept)
}

fn make_labs_dir(labs_dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(labs_dir)
        .with_context(|| format!("making {}", labs_dir.display()))
}

/// Names in a directory; none when there is no such directory.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn remove_namespace(name: &str) -> Result<()> {
    let path = Path::new(NETNS_DIR).join(name);
    let netns: OwnedFd = File::open(&path)?.into();
    kill_inhabitants(&netns)?;
    drop(netns);
    tool::ip(&["netns", "delete", name]).map(drop)
}

/// Kills every process whose network is this namespace, apart from this one: children of the programs we started too.
fn kill_inhabitants(netns: &OwnedFd) -> Result<()> {
    let inode = namespace::inode(netns)?;
    for _ in 0..MAX_KILL_ROUNDS {
        let inhabitants = inhabitants(inode)?;
        if inhabitants.is_empty() {
            return Ok(());
        }
        for pid in &inhabitants {
            kill_inhabitant(*pid, inode)?;
        }
        wait::wait_ending("processes of the namespace", KILL_GRACE, || {
            Ok(inhabitants.iter().all(|pid| !inhabits(*pid, inode)).then_some(()))
        })?;
    }
    bail!("its processes start new ones faster than they can be killed");
}

fn kill_inhabitant(pid: u32, inode: u64) -> Result<()> {
    let Some(pid_handle) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid_handle, PidfdFlags::empty()) else { return Ok(()) };
    // Asked again after the descriptor holds on to the process: the id may have gone to another one meanwhile.
    if inhabits(pid, inode) {
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("killing process {pid}")),
        }
    }
    Ok(())
}

fn inhabitants(inode: u64) -> Result<Vec<u32>> {
    let this = std::process::id();
    let pids = names_in(Path::new("/proc"))?.into_iter().filter_map(|name| name.parse().ok());
    Ok(pids.filter(|pid| *pid != this && inhabits(*pid, inode)).collect())
}

/// Whether a process's network is the namespace. A zombie has none.
fn inhabits(pid: u32, inode: u64) -> bool {
    fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|namespace| namespace.ino() == inode)
}

fn remove_directory(dir: &Path) -> Result<()> {
    for mount_point in mount_points_in(dir)? {
        unmount(&mount_point, UnmountFlags::DETACH)
            .with_context(|| format!("unmounting {}", mount_point.display()))?;
    }
    Ok(fs::remove_dir_all(dir)?)
}

/// Mount points under a directory. The last mounted comes first.
fn mount_points_in(dir: &Path) -> Result<Vec<PathBuf>> {
    // proc(5): the fifth field is the mount point. Our own paths have no characters that would be escaped.
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    points.reverse();
    Ok(points)
}
