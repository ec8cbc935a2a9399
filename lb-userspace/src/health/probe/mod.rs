//! Probes: one question to one target, one answer.
//!
//! Role: the IO of the checks. One file a kind; a new kind is a file and an arm in [`probe`]. Imports `model`.
//! Always holds: a probe ends within the check's timeout, holds one socket at most, and starts no task that
//! outlives it (dropping the future closes the socket).

mod connect;
mod error;
mod http;
mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Check, CheckKind};

pub use error::{ProbeError, Stage};

/// Asks `address` what `check` says, and returns how long the answer took.
///
/// `address` is used as it is: a port override of the check is for the caller to apply. `interval`, `rise` and
/// `fall` mean nothing here.
///
/// # Errors
/// Any [`ProbeError`]; [`ProbeError::is_inconclusive`] tells those that say nothing about the target.
pub async fn probe(address: SocketAddr, check: &Check) -> Result<Duration, ProbeError> {
    let deadline = Deadline::after(check.timeout);
    match &check.kind {
        CheckKind::Tcp => tcp::probe(address, deadline).await,
        CheckKind::Http(http) => http::probe(address, http, deadline).await,
    }
}

/// When a probe started and how long it may take.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    start: Instant,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self { start: Instant::now(), timeout }
    }

    /// Time since the start.
    fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// When it passes.
    fn end(self) -> Instant {
        self.start + self.timeout
    }

    /// Runs `work` until it ends or the deadline passes; `stage` names what was being waited for.
    async fn bound<T>(
        self,
        address: SocketAddr,
        stage: Stage,
        work: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        tokio::time::timeout_at(self.end(), work).await.unwrap_or(Err(ProbeError::TimedOut {
            address,
            stage,
            timeout: self.timeout,
        }))
    }
}

#[cfg(test)]
mod tests;
