//! The TCP connection that probes start with.
//!
//! Always holds: the socket has `SO_LINGER` 0, so that closing it leaves nothing behind.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::{Deadline, ProbeError, Stage};

/// Connects to `address` before `deadline`.
///
/// The stream closes with a reset (`SO_LINGER` with 0 s): a node that probes 10,000 targets a second would
/// otherwise keep 600,000 sockets in TIME-WAIT for a minute, and with them its source ports. A probe has
/// nothing to deliver when it closes, so no data is lost.
pub(super) async fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream, ProbeError> {
    let work = async {
        open(address)
            .await
            .map_err(|error| ProbeError::from_io(address, Stage::Connect, deadline.timeout, &error))
    };
    deadline.bound(address, Stage::Connect, work).await
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    socket.connect(address).await
}
