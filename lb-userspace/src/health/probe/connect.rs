//! The TCP connection that probes start with.
//!
//! Always holds: the socket has `SO_LINGER` 0, so that closing it leaves nothing behind.

use std::io;
use std::net::SocketAddr;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use tokio::net::{TcpSocket, TcpStream};

use super::{ProbeError, Question, Stage};

/// Connects to whom the question goes to.
///
/// The stream closes with a reset (`SO_LINGER` with 0 s): a node that probes 10,000 targets a second would
/// otherwise keep 600,000 sockets in TIME-WAIT for a minute, and with them its source ports. A probe has
/// nothing to deliver when it closes, so no data is lost.
pub(super) async fn connect(question: &Question) -> Result<TcpStream, ProbeError> {
    question.bound(Stage::Connect, open(question)).await
}

async fn open(question: &Question) -> Result<TcpStream, ProbeError> {
    let name = |error: io::Error| question.io_error(Stage::Connect, &error);
    let socket = match question.address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(name)?;
    socket.set_zero_linger().map_err(name)?;
    if let Some(source) = question.source() {
        bind_late(&socket).map_err(name)?;
        socket.bind(source).map_err(|error| question.no_source(source, &error))?;
    }
    socket.connect(question.address).await.map_err(name)
}

/// Lets the port of a bound socket be chosen when it connects (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2): two probes from one
/// address to different servers may then share a port, and 28,000 ports are enough for any number of servers.
fn bind_late(socket: &TcpSocket) -> io::Result<()> {
    Ok(setsockopt(socket, IpBindAddressNoPort, &true)?)
}
