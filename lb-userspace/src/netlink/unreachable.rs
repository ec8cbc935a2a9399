//! Routes that say that a network goes no further than this node.
//!
//! Always holds: they are marked as the agent's own and lose against every other route of the same network; nothing that
//! somebody else made is changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use rustix::io::Errno;

use super::connection::family_of;
use super::route::ip_of;
use super::vip::VIP_PROTOCOL;
use super::{Netlink, NetlinkError};

/// Metric of the routes: greater than any that routing daemons give.
const METRIC: u32 = 0xffff_fff0;

/// A network: its first address, and the length of its prefix in bits.
pub type Network = (IpAddr, u8);

impl Netlink {
    /// The networks that the agent made unreachable.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn unreachable_networks(&self) -> Result<BTreeSet<Network>, NetlinkError> {
        let mut networks = BTreeSet::new();
        for family in [IpAddr::from([0; 4]), IpAddr::from([0; 16])].map(family_of) {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            for answer in self.dump("list routes", RouteNetlinkMessage::GetRoute(query)).await? {
                if let RouteNetlinkMessage::NewRoute(route) = answer {
                    networks.extend(ours(&route));
                }
            }
        }
        Ok(networks)
    }

    /// Makes a network unreachable by any way that is not more particular. `Ok(false)`: it is already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_unreachable(&self, network: Network) -> Result<bool, NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(message(network));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request("make a network unreachable", message, flags).await {
            Err(error) if error.refusal() == Some(Errno::EXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Takes such a route away. `Ok(false)`: it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_unreachable(&self, network: Network) -> Result<bool, NetlinkError> {
        let message = RouteNetlinkMessage::DelRoute(message(network));
        match self.request("take an unreachable route away", message, NLM_F_ACK).await {
            Err(error) if error.refusal() == Some(Errno::SRCH) => Ok(false),
            other => other.map(|_| true),
        }
    }
}

fn message((address, bits): Network) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(address);
    message.header.destination_prefix_length = bits;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(VIP_PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unreachable;
    message.attributes.push(RouteAttribute::Destination(address.into()));
    message.attributes.push(RouteAttribute::Priority(METRIC));
    message
}

fn ours(route: &RouteMessage) -> Option<Network> {
    let header = &route.header;
    if header.protocol != RouteProtocol::Other(VIP_PROTOCOL) || header.kind != RouteType::Unreachable {
        return None;
    }
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip_of(address),
        _ => None,
    });
    Some((address?, header.destination_prefix_length))
}
