//! Everything needed to send a packet to a destination from cached data.

use std::net::IpAddr;

use super::route::Route;
use super::{CacheState, Link, Mac, Medium, Neighbour, Netlink, NetlinkError, NextHopError};

/// How packets reach a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Where to.
    pub destination: IpAddr,
    /// Egress interface.
    pub ifindex: u32,
    /// Ethernet address of the egress interface.
    pub source_mac: Mac,
    /// Ethernet address of the destination or of the gateway; none while it is not resolved.
    pub destination_mac: Option<Mac>,
    /// Largest network-layer packet in bytes: the smaller of the interface's and the route's.
    pub mtu: u32,
    /// The address that the kernel would send from; none when the node has no address of that family to use.
    pub preferred_source: Option<IpAddr>,
    /// The router on the way, when the destination is not on the link. May be IPv6 for an IPv4 destination.
    pub gateway: Option<IpAddr>,
    /// How far the neighbour is resolved.
    pub neighbour_state: NeighbourState,
}

/// How far a neighbour is resolved. Coarser than the kernel's states, so that it changes only when it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeighbourState {
    /// Not known yet.
    Resolving,
    /// Known.
    Resolved,
    /// Known for good: set by the operator or another program.
    Static,
    /// Asked for without an answer; asked again now and then.
    Failed,
}

impl From<CacheState> for NeighbourState {
    fn from(state: CacheState) -> Self {
        match state {
            CacheState::Missing | CacheState::Incomplete => Self::Resolving,
            CacheState::Reachable | CacheState::Stale | CacheState::Probing => Self::Resolved,
            CacheState::Static => Self::Static,
            CacheState::Failed => Self::Failed,
        }
    }
}

impl Netlink {
    /// How packets reach `destination` now. An unresolved neighbour is no error: `destination_mac` is none then, and
    /// [`Netlink::resolve_neighbour`] makes the kernel look for it.
    ///
    /// # Errors
    /// See [`NextHopError`].
    pub async fn next_hop(&self, destination: IpAddr) -> Result<NextHop, NextHopError> {
        let route = self.route(destination).await?;
        let link = match self.link_by_index(route.ifindex).await {
            Err(NetlinkError::NoSuchLink { .. }) => None,
            other => Some(other?),
        };
        let source_mac = egress_mac(destination, link.as_ref())?;
        let neighbour = self.neighbour(route.neighbour(destination)).await?;
        let link_mtu = link.map_or(u32::MAX, |link| link.mtu);
        Ok(assemble(destination, &route, source_mac, link_mtu, &neighbour, neighbour.state.into()))
    }
}

/// The Ethernet address to send from, if the interface can be sent through at all.
pub(super) fn egress_mac(destination: IpAddr, link: Option<&Link>) -> Result<Mac, NextHopError> {
    // The interface went away between two questions: its routes go with it.
    let link = link.ok_or(NextHopError::NoRoute { destination })?;
    match link.mac {
        _ if link.medium == Medium::Loopback => Err(NextHopError::Local { destination }),
        Some(mac) if link.medium == Medium::Ethernet && link.resolves_neighbours => {
            if link.up {
                Ok(mac)
            } else {
                Err(NextHopError::LinkDown { destination, link: link.name.clone() })
            }
        }
        _ => Err(NextHopError::UnsupportedLink { destination, link: link.name.clone() }),
    }
}

/// Puts the answers together.
pub(super) fn assemble(
    destination: IpAddr,
    route: &Route,
    source_mac: Mac,
    link_mtu: u32,
    neighbour: &Neighbour,
    neighbour_state: NeighbourState,
) -> NextHop {
    NextHop {
        destination,
        ifindex: route.ifindex,
        source_mac,
        destination_mac: neighbour.mac,
        mtu: route.mtu.map_or(link_mtu, |mtu| mtu.min(link_mtu)),
        preferred_source: route.preferred_source,
        gateway: route.gateway,
        neighbour_state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet() -> Link {
        Link::ethernet(2, "eth0")
    }

    fn destination() -> IpAddr {
        IpAddr::from([192, 0, 2, 7])
    }

    #[test]
    fn only_a_running_ethernet_link_can_be_sent_through() {
        let (destination, link) = (destination(), "eth0".to_owned());
        assert_eq!(egress_mac(destination, Some(&ethernet())), Ok([2, 0, 0, 0, 0, 1]));
        let down = Link { up: false, ..ethernet() };
        let expected = NextHopError::LinkDown { destination, link: link.clone() };
        assert_eq!(egress_mac(destination, Some(&down)), Err(expected));
        let unsupported = Err(NextHopError::UnsupportedLink { destination, link });
        let no_arp = Link { resolves_neighbours: false, ..ethernet() };
        assert_eq!(egress_mac(destination, Some(&no_arp)), unsupported);
        let tunnel = Link { medium: Medium::Other, mac: None, ..ethernet() };
        assert_eq!(egress_mac(destination, Some(&tunnel)), unsupported);
        let loopback = Link { medium: Medium::Loopback, ..ethernet() };
        assert_eq!(egress_mac(destination, Some(&loopback)), Err(NextHopError::Local { destination }));
        assert_eq!(egress_mac(destination, None), Err(NextHopError::NoRoute { destination }));
    }

    #[test]
    fn the_mtu_is_the_smaller_of_route_and_link() {
        let mtu = |route_mtu, link_mtu| {
            let route = Route { ifindex: 2, gateway: None, preferred_source: None, mtu: route_mtu };
            let state = NeighbourState::Resolving;
            assemble(destination(), &route, [0; 6], link_mtu, &Neighbour::MISSING, state).mtu
        };
        assert_eq!(mtu(None, 1_500), 1_500);
        assert_eq!(mtu(Some(1_400), 1_500), 1_400);
        assert_eq!(mtu(Some(9_000), 1_500), 1_500);
    }
}
