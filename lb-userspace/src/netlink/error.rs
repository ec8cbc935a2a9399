//! What can go wrong when the kernel is asked, and why a destination has no next hop.

use std::net::IpAddr;

use rtnetlink::packet_core::ErrorMessage;
use rustix::io::Errno;

/// A request to the kernel that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The code runs outside a tokio runtime.
    #[error("netlink needs a tokio runtime; call it from within one")]
    NoRuntime,
    /// A socket could not be made or set up.
    #[error("netlink socket, {operation}: {errno}")]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel refused a request.
    #[error("the kernel refused to {operation}: {errno}")]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel did not answer in time.
    #[error("the kernel did not answer the request to {operation} in time; try again")]
    Timeout {
        /// What was asked for.
        operation: &'static str,
    },
    /// The socket is closed, or answers were lost; the caller opens a new one.
    #[error("the netlink connection closed while trying to {operation}; open a new one")]
    Closed {
        /// What was asked for.
        operation: &'static str,
    },
    /// The list changed while it was read, every time it was tried.
    #[error("the kernel's tables kept changing while trying to {operation}; try again")]
    Interrupted {
        /// What was asked for.
        operation: &'static str,
    },
    /// No such interface.
    #[error("no interface {link}; `ip link` lists those of this network namespace")]
    NoSuchLink {
        /// Name, or index as `#3`.
        link: String,
    },
    /// More destinations than the resolver follows.
    #[error("{count} destinations are more than the resolver's limit of {limit}")]
    TooManyDestinations {
        /// How many were given.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
}

impl NetlinkError {
    /// The kernel's refusal, from the answer to a request.
    pub(super) fn refused(operation: &'static str, answer: &ErrorMessage) -> Self {
        Self::Refused { operation, errno: Errno::from_raw_os_error(answer.raw_code().saturating_abs()) }
    }

    /// A socket error.
    pub(super) fn socket(operation: &'static str, error: &std::io::Error) -> Self {
        Self::Socket { operation, errno: Errno::from_io_error(error).unwrap_or(Errno::IO) }
    }

    /// Whether a new connection is needed: this one gives no answers any more, or lost one.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::Closed { .. } | Self::Timeout { .. } | Self::Socket { .. })
    }

    /// The errno of a refusal.
    pub(super) fn refusal(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// Why packets for a destination cannot be sent from cached data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NextHopError {
    /// No route, or one that says unreachable, blackhole or prohibit.
    #[error("no route to {destination}; `ip route get {destination}` says why")]
    NoRoute {
        /// Where to.
        destination: IpAddr,
    },
    /// The destination is this node itself.
    #[error("{destination} is an address of this node itself; a backend must be another host")]
    Local {
        /// Where to.
        destination: IpAddr,
    },
    /// Multicast, broadcast or unspecified.
    #[error("{destination} is no unicast address")]
    NotUnicast {
        /// Where to.
        destination: IpAddr,
    },
    /// The egress interface is down, or has no carrier.
    #[error("interface {link} towards {destination} is down or has no carrier")]
    LinkDown {
        /// Where to.
        destination: IpAddr,
        /// The interface's name.
        link: String,
    },
    /// The egress interface has no Ethernet addresses or no neighbour discovery.
    #[error(
        "interface {link} towards {destination} is no Ethernet link with neighbour discovery (a tunnel?); \
         route {destination} over an Ethernet, VLAN, bond or bridge interface"
    )]
    UnsupportedLink {
        /// Where to.
        destination: IpAddr,
        /// The interface's name.
        link: String,
    },
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}
