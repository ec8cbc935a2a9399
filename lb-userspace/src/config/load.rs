//! Reading a configuration file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::bounds::MAX_FILE_BYTES;
use super::{ConfigErrors, Parsed, parse};

/// Why a file gave no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {}: {source} ({})", path.display(), read_hint(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no regular file.
    #[error("{} is not a regular file (name the TOML file itself)", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than any configuration.
    #[error(
        "{} has more than {MAX_FILE_BYTES} bytes (check that this is the configuration)",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{}: byte {offset} is not UTF-8 (save the file as UTF-8 text)", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first wrong byte, from 0.
        offset: usize,
    },
    /// The text is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

/// Reads and parses a file; also returns its text, which edits start from.
///
/// # Errors
/// When the file cannot be read, or its text is not a valid configuration.
pub fn load(path: &Path) -> Result<(Parsed, String), LoadError> {
    let text = read(path)?;
    let parsed = parse(&text, path)?;
    Ok((parsed, text))
}

fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_path_buf(), source };
    // Asked before opening: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(LoadError::NotAFile { path: path.to_path_buf() });
    }
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(most.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.to_path_buf() });
    }
    String::from_utf8(bytes).map_err(|error| LoadError::NotUtf8 {
        path: path.to_path_buf(),
        offset: error.utf8_error().valid_up_to(),
    })
}

fn read_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path, or copy an example from examples/",
        io::ErrorKind::PermissionDenied => "run as root, or let this user read the file",
        _ => "check the path and the file system",
    }
}
