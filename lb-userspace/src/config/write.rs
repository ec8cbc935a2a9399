//! Writing a file so that a reader sees the old text or the new one.
//!
//! Role: temporary file, fsync, rename, fsync of the directory. Imports nothing of ours.
//! Always holds: whatever fails, and whenever the power goes, the file has its old text or its new text.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use tempfile::NamedTempFile;

/// Mode of a file that did not exist before.
const NEW_FILE_MODE: u32 = 0o644;

/// Why a file was not written. The old text is still there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {step}: {source} ({})", path.display(), hint(source))]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What was being done.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Replaces the text of a file, or makes the file. Mode and owner stay; a symlink stays and its target is
/// written. Extended attributes and hard links are not kept: the file is a new one.
///
/// # Errors
/// When any step fails; the file then has its old text, except when only the last step (making the change
/// durable) failed.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), WriteError> {
    let failed =
        |step: &'static str| move |source: io::Error| WriteError { path: path.to_path_buf(), step, source };
    let target = resolve(path).map_err(failed("following the path"))?;
    let directory = parent(&target);
    let old = existing(&target).map_err(failed("reading its mode and owner"))?;
    let mut draft =
        NamedTempFile::with_prefix_in(".lb-config-", directory).map_err(failed("making a temporary file"))?;
    draft.write_all(text.as_bytes()).map_err(failed("writing a temporary file"))?;
    adopt(draft.as_file(), old.as_ref()).map_err(failed("setting mode and owner"))?;
    draft.as_file().sync_all().map_err(failed("writing to disk"))?;
    draft.persist(&target).map_err(|error| failed("replacing the file")(error.error))?;
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(failed("writing the directory to disk"))
}

/// The file behind the path. A path that leads nowhere is itself, unless it is a symlink.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            Ok(path.to_path_buf())
        }
        result => result,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn existing(target: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the new file the owner and the mode of the old one.
fn adopt(new: &File, old: Option<&Metadata>) -> io::Result<()> {
    let Some(old) = old else { return new.set_permissions(Permissions::from_mode(NEW_FILE_MODE)) };
    let created = new.metadata()?;
    if (created.uid(), created.gid()) != (old.uid(), old.gid()) {
        rustix::fs::fchown(new, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())))?;
    }
    // After fchown, which clears the set-id bits.
    new.set_permissions(Permissions::from_mode(old.permissions().mode()))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full: free some space",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: remount it, or move the file",
        io::ErrorKind::PermissionDenied => "let this user write to the directory, not only to the file",
        io::ErrorKind::ResourceBusy => "the file is a mount of its own: mount its directory instead",
        io::ErrorKind::NotFound => "make the directory, or mend the symlink",
        _ => "check the directory and the file system",
    }
}
