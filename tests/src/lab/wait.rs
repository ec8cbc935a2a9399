//! Waiting for something that gives no event: polled, bounded, ended by Ctrl-C.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::interrupt;

/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `look` finds a value, at least once, at most for `timeout`.
///
/// # Errors
/// The first error of `look`; [`super::Interrupted`]; or, after `timeout`, one that names `what`.
pub fn wait_until<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_ending(what, timeout, || match look()? {
        Some(found) => Ok(Some(found)),
        None => interrupt::check().map(|()| None),
    })
}

/// As [`wait_until`], not ended by Ctrl-C: for cleaning up.
pub(super) fn wait_ending<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}
