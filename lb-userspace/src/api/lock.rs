//! The lock that keeps a second agent out.
//!
//! Role: one file beside the control socket, locked with flock(2) for the life of the agent and holding its pid.
//! Imports nothing of ours.
//! Always holds: the kernel gives the lock up when its holder dies, however it dies, so the lock (not the file, nor
//! the socket) is the truth about whether an agent runs. The file is never removed: removing it would let two
//! agents lock two files of the same name.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of the directory of socket and lock, where the agent makes it: root, and the group may pass.
pub const DIRECTORY_MODE: u32 = 0o750;

/// Mode of the lock file. A pid is no secret, but only the owner writes.
pub const LOCK_MODE: u32 = 0o640;

/// Longest pid with its newline that is read from a lock file.
const MAX_PID_BYTES: u64 = 16;

/// The lock, held until dropped.
#[derive(Debug)]
pub struct AgentLock {
    file: File,
    path: PathBuf,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("another lbd is running ({}): it holds {}; stop it first, or give this one a control_socket of its own",
        pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}")), path.display())]
    Held {
        /// Pid of the other, if it has written it already.
        pid: Option<u32>,
        /// The lock file.
        path: PathBuf,
    },
    /// The directory is not there and cannot be made.
    #[error("cannot make the directory {}: {source}; lbd needs root, or a directory that it may write to", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {}: {source}; lbd needs root, or a directory that it may write to", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AgentLock {
    /// Takes the lock that belongs to the control socket `socket` (`lbd.sock` has `lbd.lock`), making the directory
    /// where it is missing, and writes this process's pid into it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another agent runs, the others when the file system does not allow it.
    pub fn acquire(socket: &Path) -> Result<Self, LockError> {
        let path = socket.with_extension("lock");
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(|source| LockError::Directory { path: directory.into(), source })?;
        }
        let file_error = |source| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(LOCK_MODE)
            .open(&path)
            .map_err(file_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: read_pid(&file), path }),
            Err(TryLockError::Error(source)) => return Err(file_error(source)),
        }
        write_pid(&mut file).map_err(file_error)?;
        Ok(Self { file, path })
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentLock {
    /// Leaves no pid behind that may by then belong to another process, and unlocks rather than only closing: a
    /// child between fork and exec has the file open too, and a lock goes with its last descriptor.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0).and_then(|()| self.file.unlock()) {
            tracing::warn!(path = %self.path.display(), %error, "cannot release the lock file");
        }
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(MAX_PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_lock_is_exclusive_names_its_holder_and_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/lbd.sock");
        let lock = AgentLock::acquire(&socket).unwrap();
        assert_eq!(lock.path(), directory.path().join("run/lbd.lock"));

        let message = AgentLock::acquire(&socket).unwrap_err().to_string();
        let wanted = format!("another lbd is running (pid {})", std::process::id());
        assert!(message.starts_with(&wanted), "{message}");

        drop(lock);
        AgentLock::acquire(&socket).unwrap();
    }

    #[test]
    fn the_directory_is_made_for_root_and_group_only() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/lbd.sock");
        let _lock = AgentLock::acquire(&socket).unwrap();
        let mode = std::fs::metadata(directory.path().join("run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, DIRECTORY_MODE & !umask());
    }

    #[test]
    fn a_holder_that_has_not_written_its_pid_yet_is_still_a_holder() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lbd.sock");
        let file = File::create(socket.with_extension("lock")).unwrap();
        file.lock().unwrap();
        let message = AgentLock::acquire(&socket).unwrap_err().to_string();
        assert!(message.starts_with("another lbd is running (pid unknown)"), "{message}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = AgentLock::acquire(&file.join("run/lbd.sock")).unwrap_err().to_string();
        assert!(message.contains("file/run") && message.contains("Not a directory"), "{message}");
    }

    /// The umask of this process, read from the kernel rather than changed.
    fn umask() -> u32 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
        u32::from_str_radix(line.trim(), 8).unwrap()
    }
}
