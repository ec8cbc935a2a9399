//! Whom a probe asks, from where, and how long it may take.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::{ProbeError, Stage};

/// One question: whom it goes to, and how long the answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Who is asked.
    pub(super) address: SocketAddr,
    /// Address that it is asked from; none for the kernel's choice. Of the family of `address`, or ignored.
    source: Option<IpAddr>,
    start: Instant,
    /// Time it may take.
    pub(super) timeout: Duration,
}

impl Question {
    /// One whose time begins now.
    pub(super) fn new(address: SocketAddr, source: Option<IpAddr>, timeout: Duration) -> Self {
        let source = source.filter(|source| source.is_ipv4() == address.is_ipv4());
        Self { address, source, start: Instant::now(), timeout }
    }

    /// Where a socket has to be bound first, if anywhere; the port is for the kernel to choose.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.source.map(|source| SocketAddr::new(source, 0))
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the time is over.
    pub(super) fn end(&self) -> Instant {
        self.start + self.timeout
    }

    /// Runs `work` until it ends or the time is over; `stage` names what was being waited for.
    pub(super) async fn bound<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        tokio::time::timeout_at(self.end(), work).await.unwrap_or(Err(ProbeError::TimedOut {
            address: self.address,
            stage,
            timeout: self.timeout,
        }))
    }

    /// Names an error of the socket calls.
    pub(super) fn io_error(&self, stage: Stage, error: &std::io::Error) -> ProbeError {
        ProbeError::from_io(self.address, stage, self.timeout, error)
    }

    /// An answer that means no.
    pub(super) fn says(&self, says: impl Into<String>) -> ProbeError {
        ProbeError::Says { address: self.address, says: says.into() }
    }

    /// An answer that is not of the check's protocol.
    pub(super) fn malformed(&self, detail: impl Into<String>) -> ProbeError {
        ProbeError::Malformed { address: self.address, detail: detail.into() }
    }

    /// The node cannot ask from the address that the check names, which says nothing about the target.
    pub(super) fn no_source(&self, source: SocketAddr, error: &std::io::Error) -> ProbeError {
        self.not_asked(format!(
            "this node cannot ask from {}: {error} (is the check's `source` an address of this node?)",
            source.ip()
        ))
    }

    /// The node could not ask.
    pub(super) fn not_asked(&self, detail: impl Into<String>) -> ProbeError {
        ProbeError::NotAsked { address: self.address, detail: detail.into() }
    }
}
