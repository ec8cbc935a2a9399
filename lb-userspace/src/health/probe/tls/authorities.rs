//! Who may have signed a certificate: the authorities of a PEM file, or those that the system knows.
//!
//! Always holds: a list is in memory once, however many probes use it; what could not be read is tried again by the next
//! probe; [`MAX_READERS`] threads at most wait for files.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::super::{ProbeError, Question};

/// Most threads that read files of authorities at a time: a file system that hangs must not take all of the process's.
pub(super) const MAX_READERS: usize = 4;

/// Largest file of authorities; all of the well-known ones are about 200 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;

static READERS: Semaphore = Semaphore::const_new(MAX_READERS);

static SYSTEM: Mutex<Option<Arc<RootCertStore>>> = Mutex::new(None);

/// The files that are in use; an entry that nobody uses any more goes when another is added, so that there are at most as
/// many as checks name, and one.
static FILES: Mutex<Option<HashMap<PathBuf, Known>>> = Mutex::new(None);

/// A file that was read.
struct Known {
    stamp: Stamp,
    authorities: Weak<RootCertStore>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The authorities of the PEM file `ca`, else the system's; the same `Arc` as before if nothing has changed.
///
/// # Errors
/// [`ProbeError::NotAsked`]: they cannot be read, there are none, or reading takes longer than the question may.
pub(super) async fn load(question: &Question, ca: Option<&Path>) -> Result<Arc<RootCertStore>, ProbeError> {
    if ca.is_none()
        && let Some(known) = lock(&SYSTEM).clone()
    {
        return Ok(known);
    }
    let ca = ca.map(Path::to_owned);
    let work = async {
        let reader = READERS.acquire().await;
        let read = move || {
            let _held_until_read = reader;
            match ca {
                Some(path) => file(&path),
                None => system(),
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(format!("reading ended: {error}")))
    };
    let late =
        || Err("its authorities were not read within the check's timeout (is the disk busy?)".to_owned());
    let outcome = tokio::time::timeout_at(question.end(), work).await.unwrap_or_else(|_| late());
    outcome.map_err(|why| question.not_asked(why))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Both hold whole values at all times, so that a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those of a file.
fn file(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let failed = |error| {
        let hint = "(correct `ca`, or let lbd read the file)";
        format!("the authorities in {} cannot be read: {error} {hint}", path.display())
    };
    // Looked at before it is opened: opening a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file (name a PEM file with `ca`)", path.display()));
    }
    if let Some(known) = known(path, Stamp::of(&metadata)) {
        return Ok(known);
    }
    let mut file = File::open(path).map_err(failed)?;
    // Of the file that is read, which may be another one by now; before reading, so that a later write shows.
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut text = Vec::new();
    file.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(format!("{} has more than {limit} MiB (name a PEM file with `ca`)", path.display()));
    }
    let authorities = Arc::new(parse(path, &text)?);
    remember(path, stamp, &authorities);
    Ok(authorities)
}

fn parse(path: &Path, text: &[u8]) -> Result<RootCertStore, String> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{} is not a PEM file: {error} (correct it)", path.display()))?;
    let mut authorities = RootCertStore::empty();
    let (added, ignored) = authorities.add_parsable_certificates(certificates);
    match (added, ignored) {
        (0, 0) => Err(format!("{} has no certificate (put the authority's into it, as PEM)", path.display())),
        (0, _) => Err(format!("{} has no certificate that can be read (make it anew)", path.display())),
        _ => Ok(authorities),
    }
}

fn known(path: &Path, stamp: Stamp) -> Option<Arc<RootCertStore>> {
    let files = lock(&FILES);
    let known = files.as_ref()?.get(path)?;
    if known.stamp == stamp { known.authorities.upgrade() } else { None }
}

fn remember(path: &Path, stamp: Stamp, authorities: &Arc<RootCertStore>) {
    let mut files = lock(&FILES);
    let files = files.get_or_insert_default();
    files.retain(|_, known| known.authorities.strong_count() > 0);
    files.insert(path.to_owned(), Known { stamp, authorities: Arc::downgrade(authorities) });
}

/// The system's, read once for the process.
fn system() -> Result<Arc<RootCertStore>, String> {
    let mut known = lock(&SYSTEM);
    if let Some(known) = &*known {
        return Ok(known.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    let (added, _ignored) = authorities.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let hint = "(install ca-certificates, or name a PEM file with `ca`)";
        return Err(format!("this node knows no authority for certificates{why} {hint}"));
    }
    Ok(known.insert(Arc::new(authorities)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_none_are_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            file(&path).unwrap_err().replace(path.to_str().unwrap(), "FILE")
        };
        assert_eq!(refused(b""), "FILE has no certificate (put the authority's into it, as PEM)");
        assert_eq!(
            refused(b"no PEM at all\n"),
            "FILE has no certificate (put the authority's into it, as PEM)"
        );
        let other = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(refused(other), "FILE has no certificate that can be read (make it anew)");
        let cut = refused(b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n");
        assert!(cut.starts_with("FILE is not a PEM file: "), "{cut}");
        assert_eq!(
            refused(&vec![b'x'; (4 << 20) + 1]),
            "FILE has more than 4 MiB (name a PEM file with `ca`)"
        );

        let error = file(&directory.path().join("missing.pem")).unwrap_err();
        assert!(error.ends_with("(os error 2) (correct `ca`, or let lbd read the file)"), "{error}");
        let error = file(directory.path()).unwrap_err();
        assert!(error.ends_with(" is not a file (name a PEM file with `ca`)"), "{error}");
    }
}
