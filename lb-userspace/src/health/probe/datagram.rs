//! A question in a UDP datagram, and the datagrams that come back.
//!
//! Always holds: the socket is connected, so only datagrams from the address that was asked arrive, and an ICMP error is an
//! error of the socket; at most [`MAX_DATAGRAMS`] are looked at.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{ProbeError, Question, Stage};

/// Datagrams that are looked at before the answer counts as missing.
pub(super) const MAX_DATAGRAMS: usize = 16;

/// Largest payload of a datagram (RFC 768: a length of 16 bits).
const MAX_PAYLOAD_BYTES: usize = 65_535;

/// What a datagram is to a probe: the end of it, or one to read on after. The error of the latter is told if nothing
/// better comes.
pub(super) type Judged = ControlFlow<Result<(), ProbeError>, ProbeError>;

/// Sends `request` and reads datagrams until `judge` has seen the end, or the time is over.
pub(super) async fn ask(
    question: &Question,
    request: &[u8],
    mut judge: impl FnMut(&[u8]) -> Judged,
) -> Result<(), ProbeError> {
    let name = |error: io::Error| question.io_error(Stage::Answer, &error);
    let mut not_it = None;
    let work = async {
        let socket = open(question).await?;
        socket.send(request).await.map_err(name)?;
        for _ in 0..MAX_DATAGRAMS {
            match judge(&receive(&socket).await.map_err(name)?) {
                ControlFlow::Break(result) => return result.map(Some),
                ControlFlow::Continue(error) => not_it = Some(error),
            }
        }
        Ok(None)
    };
    let outcome = question.bound(Stage::Answer, work).await;
    match (outcome, not_it) {
        (Ok(Some(())), _) => Ok(()),
        (Ok(None) | Err(ProbeError::TimedOut { .. }), Some(error)) | (Err(error), _) => Err(error),
        // Not to be had: after the last datagram there is an error to tell.
        (Ok(None), None) => Err(question.malformed("no answer among its datagrams")),
    }
}

async fn open(question: &Question) -> Result<UdpSocket, ProbeError> {
    let anywhere = match question.address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let name = |error: io::Error| question.io_error(Stage::Answer, &error);
    let socket = match question.source() {
        Some(source) => UdpSocket::bind(source).await.map_err(|error| question.no_source(source, &error)),
        None => UdpSocket::bind(anywhere).await.map_err(name),
    }?;
    socket.connect(question.address).await.map_err(name)?;
    Ok(socket)
}

/// One datagram. Memory for it is taken only when it is there: thousands of probes may wait.
async fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    // An ICMP error alone makes a socket erroneous and not readable, and `UdpSocket::recv` would sleep on.
    let news = Interest::READABLE | Interest::ERROR;
    let receive = || {
        let mut payload = Vec::with_capacity(MAX_PAYLOAD_BYTES);
        recv(socket, spare_capacity(&mut payload), RecvFlags::empty())?;
        Ok(payload)
    };
    socket.async_io(news, receive).await
}
