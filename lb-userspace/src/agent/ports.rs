//! The node's interfaces as packets meet them: ports with the program, VLANs on top of them, and what stands in the way.
//!
//! Always holds: pure, but for [`offload_notices`], which asks drivers; the datapath is told of a VLAN interface only if its
//! frames fit into what the datapath can write: two tags.

use crate::model::Node;
use crate::netlink::{Link, PortKind, Trunk, VlanProtocol, offload, trunk};
use crate::reconcile::Hop;
use lb_common::abi;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// VLAN interfaces that the datapath is told of at most: as many as its map has places.
const LINKS_LIMIT: usize = 256;

/// Tags that a frame can have.
const TAGS_LIMIT: usize = 2;

/// Bytes of a tag.
const TAG_BYTES: u32 = 4;

/// Tags that a frame may have beyond a port's MTU when XDP sends it: the kernel allows for one (`xdp_ok_fwd_dev`).
const TAGS_BEYOND_MTU: u32 = 1;

/// Every interface by index.
pub type Links = BTreeMap<u32, Link>;

/// The interfaces that the configuration names, and the VLANs on top of them: all that packets of services come in by.
pub fn interfaces<'a>(node: &Node, links: &'a Links) -> Vec<&'a Link> {
    let named = named(node, links);
    let ports: BTreeSet<u32> = named.iter().map(|link| link.index).collect();
    let on_top = links.values().filter(|link| {
        !ports.contains(&link.index)
            && trunk(links, link.index).is_some_and(|trunk| ports.contains(&trunk.port))
    });
    named.iter().copied().chain(on_top).collect()
}

/// Interfaces whose packets the kernel has to be ready to forward: [`interfaces`], and the ports of bonds among them, as
/// which packets come in where XDP runs natively.
pub fn forwarding<'a>(node: &Node, links: &'a Links) -> Vec<&'a Link> {
    let mut all = interfaces(node, links);
    let bonds: BTreeSet<u32> = all.iter().map(|link| link.index).collect();
    all.extend(links.values().filter(|link| bonds.iter().any(|bond| is_bond_port(link, *bond))));
    all
}

/// The interfaces that the configuration names, in its order.
fn named<'a>(node: &Node, links: &'a Links) -> Vec<&'a Link> {
    let find = |name: &String| links.values().find(|link| link.name == *name);
    node.interfaces.iter().filter_map(find).collect()
}

/// VLAN interfaces that frames may leave by: those on the way to backends first, then those that clients may be behind.
pub fn vlans(node: &Node, links: &Links, hops: &BTreeMap<IpAddr, Option<Hop>>) -> BTreeMap<u32, abi::Link> {
    let on_ways: BTreeSet<u32> = hops.values().flatten().map(|hop| hop.ifindex).collect();
    let others = interfaces(node, links).into_iter().map(|link| link.index);
    let mut vlans = BTreeMap::new();
    for index in on_ways.iter().copied().chain(others) {
        if vlans.len() < LINKS_LIMIT
            && let Some(link) = trunk(links, index).as_ref().and_then(datapath_link)
        {
            vlans.insert(index, link);
        }
    }
    vlans
}

fn datapath_link(trunk: &Trunk) -> Option<abi::Link> {
    let mut tags = abi::Tags::default();
    if trunk.tags.len() > tags.len() {
        return None;
    }
    for (place, vlan) in tags.iter_mut().zip(&trunk.tags) {
        *place = u32::from_ne_bytes(vlan.tag());
    }
    Some(abi::Link { port: trunk.port, tags })
}

/// Interfaces to allow redirects to: ports, never VLANs, which XDP cannot send by.
pub fn devices(
    node: &Node,
    links: &Links,
    hops: &BTreeMap<IpAddr, Option<Hop>>,
    vlans: &BTreeMap<u32, abi::Link>,
) -> BTreeSet<u32> {
    let named = named(node, links).into_iter().map(|link| link.index);
    let of_hops = hops.values().flatten().map(|hop| hop.ifindex);
    let ports = named.chain(of_hops).filter(|index| !vlans.contains_key(index));
    ports.chain(vlans.values().map(|link| link.port)).collect()
}

/// The way with an MTU that its port takes with the VLAN's tags.
pub fn fitted(hop: Hop, links: &Links) -> Hop {
    let room = trunk(links, hop.ifindex).and_then(|trunk| room_bytes(links, &trunk));
    Hop { mtu_bytes: room.map_or(hop.mtu_bytes, |room| room.min(hop.mtu_bytes)), ..hop }
}

/// Largest IP packet that a port takes in frames with these tags.
fn room_bytes(links: &Links, trunk: &Trunk) -> Option<u32> {
    let port = links.get(&trunk.port)?;
    let tags = u32::try_from(trunk.tags.len()).unwrap_or(u32::MAX);
    Some(port.mtu.saturating_sub(tags.saturating_sub(TAGS_BEYOND_MTU).saturating_mul(TAG_BYTES)))
}

/// Sentences for operators about interfaces that do not do what was probably meant.
pub fn notices(node: &Node, links: &Links) -> Vec<String> {
    let mut notices: Vec<String> =
        named(node, links).into_iter().filter_map(|link| kind_notice(link, links)).collect();
    for link in interfaces(node, links) {
        notices.extend(trunk(links, link.index).and_then(|trunk| trunk_notice(link, &trunk, links)));
    }
    if interfaces(node, links).iter().filter(|link| link.vlan.is_some()).count() > LINKS_LIMIT {
        notices.push(format!(
            "the datapath sends by {LINKS_LIMIT} VLAN interfaces at most, and node.interfaces have more: replies by the \
             others are dropped; take away those that are not needed"
        ));
    }
    notices
}

fn kind_notice(link: &Link, links: &Links) -> Option<String> {
    let name = &link.name;
    let above = || link.controller.and_then(|index| links.get(&index));
    let controller = || above().map_or("another interface", |above| above.name.as_str());
    match link.port_kind {
        Some(PortKind::Bond) => {
            return Some(format!(
                "{name} is a port of {bond}: name {bond} in node.interfaces instead of it and the bond's other ports, or \
                 what the datapath sends bypasses the bond",
                bond = controller()
            ));
        }
        Some(PortKind::Bridge) => {
            return Some(format!(
                "{name} is a port of the bridge {bridge}: what the datapath sends bypasses the bridge, and replies leave by \
                 {bridge}; name {bridge} in node.interfaces instead, or take {name} out of it: ip link set dev {name} nomaster",
                bridge = controller()
            ));
        }
        Some(PortKind::Other) | None => {}
    }
    let parent = links.get(&link.vlan?.parent).map_or("its parent", |parent| parent.name.as_str());
    Some(format!(
        "{name} is a VLAN interface, which has XDP in generic mode only: name {parent} in node.interfaces instead; the \
         datapath receives and sends its VLANs by itself"
    ))
}

fn trunk_notice(link: &Link, trunk: &Trunk, links: &Links) -> Option<String> {
    let name = &link.name;
    if trunk.tags.len() > TAGS_LIMIT {
        return Some(format!(
            "{name} has {} VLAN tags; the datapath sends with {TAGS_LIMIT} at most, so nothing is forwarded by it",
            trunk.tags.len()
        ));
    }
    let room = room_bytes(links, trunk).filter(|room| *room < link.mtu)?;
    let port = links.get(&trunk.port)?;
    Some(format!(
        "{name} has an MTU of {} bytes, and with its VLAN tags {} takes {room}: larger replies are dropped; set one of \
         them: ip link set dev {name} mtu {room}, or ip link set dev {} mtu {} (and the switch's)",
        link.mtu,
        port.name,
        port.name,
        port.mtu.saturating_add(link.mtu.saturating_sub(room)),
    ))
}

/// Kinds of interfaces that send what XDP redirects to them (`ndo_xdp_xmit`); a network card (no kind) may be one.
const SENDING_KINDS: [&str; 3] = ["veth", "bond", "tun"];

/// Sentences about ways to backends (`ways`: their interfaces) that leave by an interface without the program.
pub fn egress_notices(node: &Node, links: &Links, ways: &BTreeSet<u32>) -> Vec<String> {
    let named: BTreeSet<u32> = named(node, links).into_iter().map(|link| link.index).collect();
    let port_of = |index: &u32| trunk(links, *index).map_or(*index, |trunk| trunk.port);
    let ports: BTreeSet<u32> = ways.iter().map(port_of).filter(|port| !named.contains(port)).collect();
    let notice = |link: &Link| {
        let name = &link.name;
        match link.kind.as_deref() {
            Some(kind) if !SENDING_KINDS.contains(&kind) => format!(
                "backends are reached by {name}, a {kind}, which cannot send what XDP redirects to it: packets for them are \
                 lost unless XDP runs in generic mode; let the route to them leave by a network card, and name that in \
                 node.interfaces"
            ),
            _ => format!(
                "backends are reached by {name}, which is not in node.interfaces: replies in nat and full-nat that come in by \
                 it are not translated, and most network cards send what XDP redirects to them only while they have a \
                 program of their own; add \"{name}\" to node.interfaces"
            ),
        }
    };
    ports.iter().filter_map(|port| links.get(port)).map(notice).collect()
}

/// Sentences about network cards that take VLAN tags off before XDP sees them. Asks the drivers.
pub fn offload_notices(node: &Node, links: &Links) -> Vec<String> {
    let mut notices = Vec::new();
    for port in named(node, links) {
        let has_vlans = links.values().any(|link| {
            trunk(links, link.index).is_some_and(|trunk| {
                trunk.port == port.index
                    && trunk.tags.first().is_some_and(|tag| tag.protocol == VlanProtocol::Customer)
            })
        });
        // It is a bond's ports that have cards.
        let mut cards: Vec<&Link> = links.values().filter(|link| is_bond_port(link, port.index)).collect();
        if cards.is_empty() {
            cards.push(port);
        }
        for card in cards.iter().filter(|_| has_vlans) {
            // A driver without ethtool takes nothing off.
            if offload::takes_vlan_tags_off(&card.name).unwrap_or(false) {
                notices.push(format!(
                    "the network card of {0} takes VLAN tags off before XDP sees them, so packets of its VLANs are taken for \
                     untagged ones: switch that off: ethtool -K {0} rxvlan off",
                    card.name
                ));
            }
        }
    }
    notices
}

fn is_bond_port(link: &Link, bond: u32) -> bool {
    link.controller == Some(bond) && link.port_kind == Some(PortKind::Bond)
}

#[cfg(test)]
mod tests;
