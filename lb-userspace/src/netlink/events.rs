//! The event socket: what changed in the kernel's tables.
//!
//! Always holds: an event is a reason to look again, never a fact to store; when events were lost or cannot be read,
//! everything has changed.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::neighbour::key_of;
use super::route::is_default_route;
use super::{NeighbourKey, NetlinkError};

/// Receive buffer of the event socket in bytes: a few thousand events.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Largest datagram that the kernel sends to an event socket.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Length of a netlink message's header: no message is shorter.
const HEADER_BYTES: usize = 16;

/// Neighbours remembered one by one; with more, all are looked at again.
const CHANGED_NEIGHBOURS_LIMIT: usize = 4_096;

/// The groups that can change a next hop. A rule can send a destination another way.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// What has to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// All routes and links, and the neighbours with them.
    pub everything: bool,
    /// The default routes.
    pub default_routes: bool,
    /// These neighbours.
    pub neighbours: BTreeSet<NeighbourKey>,
}

impl Changes {
    /// Everything there is.
    pub fn all() -> Self {
        Self { everything: true, default_routes: true, neighbours: BTreeSet::new() }
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        !self.everything && !self.default_routes && self.neighbours.is_empty()
    }

    /// Adds `other`.
    pub fn merge(&mut self, other: Self) {
        self.everything |= other.everything;
        self.default_routes |= other.default_routes;
        self.neighbours.extend(other.neighbours);
        if self.everything || self.neighbours.len() > CHANGED_NEIGHBOURS_LIMIT {
            self.everything = true;
            self.neighbours.clear();
        }
    }
}

/// A socket that hears of changes in the network namespace of the thread that opened it.
pub(super) struct EventSocket {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl EventSocket {
    /// Opens it and joins the groups.
    pub fn open() -> Result<Self, NetlinkError> {
        tokio::runtime::Handle::try_current().map_err(|_| NetlinkError::NoRuntime)?;
        let mut socket =
            TokioSocket::new(NETLINK_ROUTE).map_err(|error| NetlinkError::socket("open", &error))?;
        enlarge_receive_buffer(&socket);
        let groups = GROUPS.iter().fold(0, |mask, group| mask | (1 << (*group as u32 - 1)));
        socket
            .socket_mut()
            .bind(&SocketAddr::new(0, groups))
            .map_err(|error| NetlinkError::socket("subscribe to events", &error))?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Changes, NetlinkError> {
        self.datagram.clear();
        match self.socket.recv(&mut self.datagram).await {
            Ok(()) => Ok(parse(&self.datagram)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Changes::default()),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                tracing::debug!("netlink events were lost; looking at everything again");
                Ok(Changes::all())
            }
            Err(error) => Err(NetlinkError::socket("receive events", &error)),
        }
    }
}

/// A larger buffer only makes a full resync rarer, so a failure (no `CAP_NET_ADMIN`) is no error.
fn enlarge_receive_buffer(socket: &TokioSocket) {
    let result = sockopt::set_socket_recv_buffer_size_force(socket.socket_ref(), RECEIVE_BUFFER_BYTES);
    if let Err(errno) = result {
        tracing::debug!(%errno, "the netlink event socket keeps its default receive buffer");
    }
}

/// What the messages of one datagram change.
fn parse(mut datagram: &[u8]) -> Changes {
    let mut changes = Changes::default();
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            return Changes::all();
        };
        changes.merge(meaning(&message.payload));
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).max(HEADER_BYTES);
        // Messages are padded to 4 bytes (NLMSG_ALIGN).
        let end = length.saturating_add(3) & !3;
        datagram = datagram.get(end..).unwrap_or_default();
    }
    changes
}

fn meaning(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Changes {
    let everything = Changes { everything: true, ..Changes::default() };
    let NetlinkPayload::InnerMessage(message) = payload else {
        return Changes::all();
    };
    match message {
        RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour) => {
            Changes { neighbours: key_of(neighbour).into_iter().collect(), ..Changes::default() }
        }
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            Changes { default_routes: is_default_route(route), ..everything }
        }
        // Routes vanish with their interface without events of their own.
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Changes::all(),
        _ => everything,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};

    use super::*;

    fn datagram(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            let mut message = NetlinkMessage::from(message);
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..]);
        }
        bytes
    }

    fn neighbour(last: u8) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 3;
        message.header.family = AddressFamily::Inet;
        let address = NeighbourAddress::Inet([192, 0, 2, last].into());
        message.attributes.push(NeighbourAttribute::Destination(address));
        RouteNetlinkMessage::NewNeighbour(message)
    }

    #[test]
    fn a_datagram_of_several_events_names_each_neighbour() {
        let changes = parse(&datagram(vec![neighbour(1), neighbour(2)]));
        let key = |last| NeighbourKey { ifindex: 3, address: IpAddr::from([192, 0, 2, last]) };
        assert_eq!(changes.neighbours, BTreeSet::from([key(1), key(2)]));
        assert!(!changes.everything);
    }

    #[test]
    fn a_link_event_changes_everything() {
        let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
        assert_eq!(parse(&datagram(vec![neighbour(1), link])), Changes::all());
    }

    #[test]
    fn what_cannot_be_read_changes_everything() {
        let mut bytes = datagram(vec![neighbour(1)]);
        bytes.truncate(bytes.len() - 5);
        assert_eq!(parse(&bytes), Changes::all());
        assert_eq!(parse(&[1, 2, 3]), Changes::all());
    }

    #[test]
    fn too_many_neighbours_become_everything() {
        let mut changes = Changes::default();
        for ifindex in 0..=u32::try_from(CHANGED_NEIGHBOURS_LIMIT).unwrap() {
            let key = NeighbourKey { ifindex, address: IpAddr::from([192, 0, 2, 1]) };
            changes.merge(Changes { neighbours: BTreeSet::from([key]), ..Changes::default() });
        }
        assert!(changes.everything && changes.neighbours.is_empty());
    }
}
