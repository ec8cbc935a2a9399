//! Echo requests through the kernel's own echo sockets (icmp(7), `IPPROTO_ICMP` datagrams).

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::interrupt;

/// Type of an echo request and of an echo reply (RFC 792).
const ECHO_V4: (u8, u8) = (8, 0);

/// The same for IPv6 (RFC 4443, section 4).
const ECHO_V6: (u8, u8) = (128, 129);

/// Time between two requests while no reply comes: the first may be lost to address resolution.
const RESEND_INTERVAL: Duration = Duration::from_millis(200);

/// Requests until a reply comes or the time is over, in the calling thread's namespace.
pub(super) fn ping(destination: IpAddr, timeout: Duration) -> Result<()> {
    let (domain, protocol, (request, reply)) = match destination {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, ECHO_V4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, ECHO_V6),
    };
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol)).context("opening an echo socket")?;
    socket.connect(&SocketAddr::new(destination, 0).into()).context("no route")?;
    socket.set_read_timeout(Some(RESEND_INTERVAL))?;
    let deadline = Instant::now() + timeout;
    // Identifier and checksum are the kernel's; the sequence number is 1.
    let message = [request, 0, 0, 0, 0, 0, 0, 1];
    while Instant::now() < deadline {
        interrupt::check()?;
        socket.send(&message).context("sending the request")?;
        let mut answer = [0; 64];
        match socket.read(&mut answer) {
            Ok(len) if len >= message.len() && answer.first() == Some(&reply) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error).context("waiting for the reply"),
        }
    }
    bail!("no reply within {timeout:?}")
}
