//! The TCP check: a connection is accepted.
//!
//! It sends nothing and ends the connection with a reset (see [`connect`]); the server sees a connection that
//! goes away before its first byte.

use std::net::SocketAddr;
use std::time::Duration;

use super::connect::connect;
use super::{Deadline, ProbeError};

/// Good once the three-way handshake is done; the latency is that of the handshake.
pub(super) async fn probe(address: SocketAddr, deadline: Deadline) -> Result<Duration, ProbeError> {
    let _closed_on_return = connect(address, deadline).await?;
    Ok(deadline.elapsed())
}
