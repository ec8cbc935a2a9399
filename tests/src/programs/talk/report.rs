//! What the client says of its connections.
//!
//! Role: plain data, written by the client and read by the labs. Imports nothing of ours.
//! Always holds: times are microseconds since 1970, lists are bounded and counts are not.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Failures that are told one by one.
pub const MAX_FAILURES: usize = 200;

/// Visits that are told one by one.
pub const MAX_VISITS: usize = 1 << 20;

/// Every connection, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that last.
    pub talks: Tally,
    /// Downloads.
    pub downloads: Tally,
    /// New connections of one exchange each.
    pub visits: Tally,
    /// The first connections that broke.
    pub failures: Vec<Failure>,
}

/// The connections of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Begun, in all.
    pub begun: u64,
    /// Ended as they should.
    pub ended: u64,
    /// Broken.
    pub broken: u64,
    /// Established and under way, by server.
    pub open: BTreeMap<String, u64>,
}

impl Tally {
    /// Established and under way.
    pub fn open_count(&self) -> u64 {
        self.open.values().sum()
    }
}

/// A connection that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `talk`, `download` or `visit`.
    pub kind: String,
    /// When.
    pub at_us: u64,
    /// Whom it was to.
    pub vip: SocketAddr,
    /// Its own address, once it was connected.
    pub local: Option<SocketAddr>,
    /// The server that it was with, once it was answered.
    pub server: Option<String>,
    /// What happened.
    pub text: String,
}

/// A visit that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Whom it was to.
    pub vip: SocketAddr,
    /// Its own address, once it was connected.
    pub local: Option<SocketAddr>,
    /// Just before it connected.
    pub begun_us: u64,
    /// When it was answered, or broke.
    pub ended_us: u64,
    /// Who answered; none when it broke.
    pub server: Option<String>,
}

/// A download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Whom it was to.
    pub vip: SocketAddr,
    /// Who sends.
    pub server: String,
    /// When it was established.
    pub begun_us: u64,
    /// When it was complete; none before that and when it broke.
    pub ended_us: Option<u64>,
}
