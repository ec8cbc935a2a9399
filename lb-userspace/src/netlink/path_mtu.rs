//! Path MTUs of tunnels (RFC 1191, RFC 8201): routers on the way tell the node that a packet is too big for them.
//!
//! The kernel believes such a message only if somebody is there who sends what it embeds. Tunnels' packets are sent by XDP,
//! so nobody is, unless a tunnel driver happens to be loaded: a raw socket of the tunnel's protocol stands in for it. The
//! kernel then remembers the path's MTU for the backend (`ip route get` shows it, for ten minutes), and the socket's error
//! queue says when.
//!
//! Always holds: the sockets receive no packet (a filter refuses all), and send none.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use futures_util::FutureExt;
use futures_util::future::{pending, select_all};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use std::num::NonZeroU32;
use std::time::Duration;

/// Protocol numbers of IPv4 and IPv6 in IP.
const PROTOCOLS: [u32; 2] = [4, 41];

/// Messages read in one go; the kernel's queue is bounded by the socket's receive buffer.
const ERRORS_AT_ONCE: usize = 256;

/// Bytes of an embedded packet that are read; what they say is the kernel's to judge.
const EMBEDDED_BYTES: usize = 64;

/// Complaints are heard this often at most, in the long run: anyone can send them, and each has everything looked at again.
const HEARING_INTERVAL: Duration = Duration::from_secs(1);

/// Complaints that are heard at once after a time without any: routers on several ways may have something to say.
const HEARINGS_AT_ONCE: u32 = 8;

/// Says when complaints are heard; the kernel keeps a bounded number of them until then.
#[derive(Debug)]
pub(super) struct Patience {
    /// When everything that was heard so far would have been, one an interval.
    paid_until: Instant,
}

impl Patience {
    /// All of it.
    pub const fn new(now: Instant) -> Self {
        Self { paid_until: now }
    }

    /// Whether the next complaint is heard.
    pub fn lasts(&self, now: Instant) -> bool {
        self.paid_until <= now + HEARING_INTERVAL * (HEARINGS_AT_ONCE - 1)
    }

    /// One was heard.
    pub fn heard(&mut self, now: Instant) {
        self.paid_until = self.paid_until.max(now) + HEARING_INTERVAL;
    }
}

/// Sockets that stand in for tunnels; none by default.
#[derive(Default)]
pub(super) struct PathMtuSockets {
    sockets: Vec<AsyncFd<OwnedFd>>,
}

impl PathMtuSockets {
    /// Opens one for each protocol and family that the kernel and the process's rights allow.
    pub fn open() -> Self {
        let mut sockets = Vec::new();
        for family in [AddressFamily::INET, AddressFamily::INET6] {
            for protocol in PROTOCOLS {
                match open(family, protocol) {
                    Ok(socket) => sockets.push(socket),
                    Err(error) => {
                        tracing::debug!(%error, ?family, protocol, "path MTUs of these tunnels are not learned");
                    }
                }
            }
        }
        Self { sockets }
    }

    /// Waits until a router has complained. Dropping the future loses nothing.
    pub async fn changed(&self) {
        if self.sockets.is_empty() {
            return pending().await;
        }
        let waits = self.sockets.iter().map(|socket| wait(socket).boxed());
        select_all(waits).await;
    }
}

async fn wait(socket: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut guard) = socket.ready(Interest::ERROR).await else {
            return pending().await;
        };
        let mut heard = false;
        for _ in 0..ERRORS_AT_ONCE {
            let mut embedded = [0; EMBEDDED_BYTES];
            let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
            if recv(socket.get_ref(), embedded.as_mut_slice(), flags).is_err() {
                guard.clear_ready();
                break;
            }
            heard = true;
        }
        if heard {
            return;
        }
    }
}

fn open(family: AddressFamily, protocol: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = NonZeroU32::new(protocol).map(Protocol::from_raw);
    let socket = socket_with(family, SocketType::RAW, flags, protocol)?;
    refuse_packets(&socket)?;
    let (level, option) = if family == AddressFamily::INET {
        (libc::SOL_IP, libc::IP_RECVERR)
    } else {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    };
    set_option(&socket, level, option, &1_i32)?;
    // SAFETY: the descriptor is moved in, open, and an OwnedFd keeps it, the same one, open until it is dropped with the
    // AsyncFd.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::ERROR) }?)
}

/// Attaches a filter that takes nothing of any packet.
fn refuse_packets(socket: &OwnedFd) -> io::Result<()> {
    // `ret #0`
    let mut refuse = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut refuse };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn set_option<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is passed with its own length and outlives the call, which copies it, as does the one instruction
    // that a filter's value points to.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Complaints that are heard when there is one every 10 ms.
    fn heard(patience: &mut Patience, from: Instant, seconds: u64) -> u64 {
        let times = (0..seconds * 100).map(|at| from + Duration::from_millis(at * 10));
        let mut heard = 0;
        for now in times {
            if patience.lasts(now) {
                patience.heard(now);
                heard += 1;
            }
        }
        heard
    }

    #[test]
    fn a_flood_of_complaints_is_heard_once_a_second() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        assert_eq!(heard(&mut patience, start, 1), u64::from(HEARINGS_AT_ONCE));
        assert_eq!(heard(&mut patience, start + Duration::from_secs(1), 100), 100);
        let quiet = start + Duration::from_secs(200);
        assert_eq!(heard(&mut patience, quiet, 1), u64::from(HEARINGS_AT_ONCE), "after a time without any");
    }
}
