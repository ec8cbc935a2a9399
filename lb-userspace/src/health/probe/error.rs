//! What can go wrong with a probe, in words that say what and where.
//!
//! Always holds: every error names the address that was asked; an error of the node itself is never blamed on
//! the target ([`ProbeError::is_inconclusive`]).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What a probe was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the TCP handshake.
    Connect,
    /// Waiting for the TLS handshake.
    Tls,
    /// Waiting for the server's greeting.
    Greeting,
    /// Waiting for the answer to the request.
    Answer,
    /// Waiting for the rest of the answer's body.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Connect => "TCP connection",
            Self::Tls => "end of the TLS handshake",
            Self::Greeting => "greeting",
            Self::Answer => "answer to the request",
            Self::Body => "end of the answer's body",
        })
    }
}

/// Why a probe did not get a good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The target's host answered with a reset: no process listens on that port.
    #[error("{address} refused the connection (does the server run and listen on that port?)")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
    },
    /// Nothing came within the check's timeout.
    #[error("{address}: no {stage} within {timeout:?}")]
    TimedOut {
        /// Who was asked.
        address: SocketAddr,
        /// What was waited for.
        stage: Stage,
        /// The check's timeout.
        timeout: Duration,
    },
    /// The target ended the connection before it had answered.
    #[error("{address} closed the connection before a whole answer ({how})")]
    Closed {
        /// Who was asked.
        address: SocketAddr,
        /// With a reset or in order.
        how: Close,
    },
    /// The network, a firewall or the node's own routing says that there is no way.
    #[error("{address} cannot be reached from this node: {detail} (check routes, addresses and firewalls)")]
    Unreachable {
        /// Who was asked.
        address: SocketAddr,
        /// The kernel's words.
        detail: String,
    },
    /// An HTTP answer with a status that the check does not accept.
    #[error("{address} answered with status {status}; the check accepts {accepted}")]
    Status {
        /// Who was asked.
        address: SocketAddr,
        /// The status of the answer.
        status: u16,
        /// The check's `expect_status`, as text.
        accepted: String,
    },
    /// The TLS handshake failed: no common version, or a certificate that the check does not accept.
    #[error("{address}: TLS failed: {detail}")]
    Tls {
        /// Who was asked.
        address: SocketAddr,
        /// What was wrong with it, and what to do.
        detail: String,
    },
    /// The body of an HTTP answer does not contain what the check looks for.
    #[error("{address}: the first {read_bytes} bytes of the body do not match {pattern:?}")]
    Body {
        /// Who was asked.
        address: SocketAddr,
        /// The check's `expect_body`.
        pattern: String,
        /// How much of the body was looked at.
        read_bytes: usize,
    },
    /// The target answered in its protocol that it does not serve.
    #[error("{address} says: {says}")]
    Says {
        /// Who was asked.
        address: SocketAddr,
        /// Its words, or what they mean.
        says: String,
    },
    /// The check's command did not end with status 0.
    #[error("the command for {address} {detail}")]
    Command {
        /// Whom it was to look at.
        address: SocketAddr,
        /// How it ended, and the first line that it wrote.
        detail: String,
    },
    /// The answer is not of the check's protocol.
    #[error("{address} gave a malformed answer: {detail} (does another protocol, such as TLS, run there?)")]
    Malformed {
        /// Who was asked.
        address: SocketAddr,
        /// The parser's words.
        detail: String,
    },
    /// The head of the answer is larger than a probe reads.
    #[error(
        "{address} gave an answer with a head over the limit of {limit_bytes} bytes or {limit_headers} headers"
    )]
    TooLarge {
        /// Who was asked.
        address: SocketAddr,
        /// Most bytes of status line and headers together.
        limit_bytes: usize,
        /// Most headers.
        limit_headers: usize,
    },
    /// The node has no file descriptor left. Says nothing about the target.
    #[error("{address} was not asked: too many open files on this node (raise LimitNOFILE of lbd): {detail}")]
    TooManyOpenFiles {
        /// Who was to be asked.
        address: SocketAddr,
        /// The kernel's words: of the process (EMFILE) or of the whole system (ENFILE).
        detail: String,
    },
    /// The node has no memory for a socket. Says nothing about the target.
    #[error("{address} was not asked: this node is out of memory for sockets: {detail}")]
    OutOfMemory {
        /// Who was to be asked.
        address: SocketAddr,
        /// The kernel's words.
        detail: String,
    },
    /// The check's request is not valid HTTP. Says nothing about the target.
    #[error(
        "{address} was not asked: the check's request is not valid: {detail} (correct its path, method or host)"
    )]
    Request {
        /// Who was to be asked.
        address: SocketAddr,
        /// What is wrong.
        detail: String,
    },
    /// The node lacks something that the check needs, such as a file. Says nothing about the target.
    #[error("{address} was not asked: {detail}")]
    NotAsked {
        /// Who was to be asked.
        address: SocketAddr,
        /// What is missing, and what to do.
        detail: String,
    },
    /// Any other error of the connection.
    #[error("{address}: no {stage}: {detail}")]
    Io {
        /// Who was asked.
        address: SocketAddr,
        /// What was waited for.
        stage: Stage,
        /// The kernel's words.
        detail: String,
    },
}

/// How a target ended a connection too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// With a TCP reset.
    Reset,
    /// With a FIN.
    InOrder,
}

impl fmt::Display for Close {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Reset => "reset",
            Self::InOrder => "end of stream",
        })
    }
}

impl ProbeError {
    /// Whether the node could not ask, so that the target is neither good nor bad.
    ///
    /// Without this a node that runs out of file descriptors would take every backend out of service at once.
    pub fn is_inconclusive(&self) -> bool {
        match self {
            Self::TooManyOpenFiles { .. }
            | Self::OutOfMemory { .. }
            | Self::Request { .. }
            | Self::NotAsked { .. } => true,
            Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Closed { .. }
            | Self::Unreachable { .. }
            | Self::Status { .. }
            | Self::Tls { .. }
            | Self::Body { .. }
            | Self::Says { .. }
            | Self::Command { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Io { .. } => false,
        }
    }

    /// Whether the target answered, and what it said was not good enough: something lives there.
    pub fn is_an_answer(&self) -> bool {
        match self {
            Self::Status { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Tls { .. }
            | Self::Body { .. }
            | Self::Says { .. } => true,
            Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Closed { .. }
            | Self::Unreachable { .. }
            | Self::Command { .. }
            | Self::TooManyOpenFiles { .. }
            | Self::OutOfMemory { .. }
            | Self::Request { .. }
            | Self::NotAsked { .. }
            | Self::Io { .. } => false,
        }
    }

    /// Names an error of the socket calls. `timeout` is that of the check, for the kernel's own time-outs.
    pub(super) fn from_io(address: SocketAddr, stage: Stage, timeout: Duration, error: &io::Error) -> Self {
        let detail = error.to_string();
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => return Self::TooManyOpenFiles { address, detail },
            Some(libc::ENOBUFS | libc::ENOMEM) => return Self::OutOfMemory { address, detail },
            // EADDRNOTAVAIL: no address of that family here, or no port left. EAFNOSUPPORT: IPv6 is off. EPERM: the node's own
            // packet filter, or its table of connections is full. What is forwarded meets none of these.
            Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::EPERM) => {
                let detail = format!("{detail} (look at this node's addresses, ports and packet filter)");
                return Self::NotAsked { address, detail };
            }
            // A route that prohibits.
            Some(libc::EACCES) => return Self::Unreachable { address, detail },
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            io::ErrorKind::TimedOut => Self::TimedOut { address, stage, timeout },
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Closed { address, how: Close::Reset }
            }
            io::ErrorKind::UnexpectedEof => Self::Closed { address, how: Close::InOrder },
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable { address, detail },
            _ => Self::Io { address, stage, detail },
        }
    }
}
