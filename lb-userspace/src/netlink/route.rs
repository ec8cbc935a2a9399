//! Which way the kernel would send a packet, and the node's default gateways.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::connection::{family_of, host_prefix_length};
use super::{NeighbourKey, Netlink, NetlinkError, NextHopError};

/// The kernel's choice for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Egress interface.
    pub ifindex: u32,
    /// The router, when the destination is not on the link itself. May be IPv6 for an IPv4 destination (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The address that the kernel would send from.
    pub preferred_source: Option<IpAddr>,
    /// MTU of the route, when it has one of its own or path MTU discovery found one; bytes.
    pub mtu: Option<u32>,
}

impl Route {
    /// The neighbour that frames to `destination` are addressed to.
    pub fn neighbour(&self, destination: IpAddr) -> NeighbourKey {
        NeighbourKey { ifindex: self.ifindex, address: self.gateway.unwrap_or(destination) }
    }
}

impl Netlink {
    /// Asks which way packets to `destination` go. Of several equal paths, the kernel's answer is taken.
    pub(super) async fn route(&self, destination: IpAddr) -> Result<Route, NextHopError> {
        if !is_unicast(destination) {
            return Err(NextHopError::NotUnicast { destination });
        }
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = host_prefix_length(destination);
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let operation = "look up a route";
        match self.request(operation, RouteNetlinkMessage::GetRoute(message), 0).await {
            Err(error) if error.refusal().is_some_and(is_no_route) => {
                Err(NextHopError::NoRoute { destination })
            }
            Err(error) => Err(error.into()),
            Ok(answers) => answers
                .iter()
                .find_map(|answer| match answer {
                    RouteNetlinkMessage::NewRoute(route) => Some(from_message(destination, route)),
                    _ => None,
                })
                .unwrap_or(Err(NetlinkError::Closed { operation }.into())),
        }
    }

    /// The gateways of every default route of both families, all tables and all paths.
    pub(super) async fn default_gateways(&self) -> Result<BTreeSet<NeighbourKey>, NetlinkError> {
        let mut gateways = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump("list routes", RouteNetlinkMessage::GetRoute(message)).await?;
            for answer in &answers {
                if let RouteNetlinkMessage::NewRoute(route) = answer
                    && is_default_route(route)
                {
                    gateways.extend(gateways_of(route));
                }
            }
        }
        Ok(gateways)
    }
}

/// Without routes the kernel does not tell these from the rest. A subnet's broadcast address has a route that does.
fn is_unicast(destination: IpAddr) -> bool {
    let is_broadcast = matches!(destination, IpAddr::V4(address) if address.is_broadcast());
    !is_broadcast && !destination.is_unspecified() && !destination.is_multicast()
}

/// What the kernel answers for no route (ENETUNREACH), unreachable (EHOSTUNREACH), prohibit (EACCES), blackhole
/// (EINVAL) and throw (EAGAIN) routes.
fn is_no_route(errno: Errno) -> bool {
    matches!(errno, Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::INVAL | Errno::AGAIN)
}

/// Whether a route is a unicast default route.
pub(super) fn is_default_route(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}

fn from_message(destination: IpAddr, message: &RouteMessage) -> Result<Route, NextHopError> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Anycast => return Err(NextHopError::Local { destination }),
        RouteType::Broadcast | RouteType::Multicast => {
            return Err(NextHopError::NotUnicast { destination });
        }
        _ => return Err(NextHopError::NoRoute { destination }),
    }
    let ifindex = oif(&message.attributes).ok_or(NextHopError::NoRoute { destination })?;
    let preferred_source = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip_of(address),
        _ => None,
    });
    let mtu = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Metrics(metrics) => mtu_of(metrics),
        _ => None,
    });
    Ok(Route { ifindex, gateway: gateway(&message.attributes), preferred_source, mtu })
}

fn gateways_of(route: &RouteMessage) -> impl Iterator<Item = NeighbourKey> + '_ {
    let single = oif(&route.attributes).zip(gateway(&route.attributes));
    let several = route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::MultiPath(paths) => paths.as_slice(),
        _ => &[],
    });
    let of_path = |path: &RouteNextHop| Some((path.interface_index, gateway(&path.attributes)?));
    single
        .into_iter()
        .chain(several.filter_map(of_path))
        .map(|(ifindex, address)| NeighbourKey { ifindex, address })
}

fn oif(attributes: &[RouteAttribute]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip_of(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        })
        // Old kernels show a gateway of zeroes for on-link routes.
        .filter(|address| !address.is_unspecified())
}

fn mtu_of(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

pub(super) fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn message(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    fn destination() -> IpAddr {
        IpAddr::from([192, 0, 2, 7])
    }

    #[test]
    fn the_kind_of_the_route_decides_the_error() {
        let error = |kind| from_message(destination(), &message(kind, vec![RouteAttribute::Oif(2)])).err();
        let destination = destination();
        assert_eq!(error(RouteType::Unicast), None);
        assert_eq!(error(RouteType::Local), Some(NextHopError::Local { destination }));
        assert_eq!(error(RouteType::Broadcast), Some(NextHopError::NotUnicast { destination }));
        assert_eq!(error(RouteType::BlackHole), Some(NextHopError::NoRoute { destination }));
        assert_eq!(error(RouteType::Unreachable), Some(NextHopError::NoRoute { destination }));
    }

    #[test]
    fn an_ipv4_route_may_have_an_ipv6_gateway() {
        let via = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let attributes = vec![RouteAttribute::Oif(4), RouteAttribute::Via(RouteVia::Inet6(via))];
        let route = from_message(destination(), &message(RouteType::Unicast, attributes)).unwrap();
        assert_eq!(route.neighbour(destination()), NeighbourKey { ifindex: 4, address: via.into() });
    }

    #[test]
    fn a_gateway_of_zeroes_is_none() {
        let attributes =
            vec![RouteAttribute::Oif(4), RouteAttribute::Gateway(IpAddr::from([0, 0, 0, 0]).into())];
        let route = from_message(destination(), &message(RouteType::Unicast, attributes)).unwrap();
        assert_eq!(route.neighbour(destination()).address, destination());
    }

    #[test]
    fn only_unicast_routes_of_no_bits_are_default() {
        let mut route = message(RouteType::Unicast, vec![]);
        assert!(is_default_route(&route));
        route.header.destination_prefix_length = 8;
        assert!(!is_default_route(&route));
        assert!(!is_default_route(&message(RouteType::Unreachable, vec![])));
    }
}
