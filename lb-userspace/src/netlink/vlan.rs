//! VLAN interfaces: what their frames are tagged with, and the port that frames leave by.

use std::collections::BTreeMap;

use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol as NetlinkProtocol,
};

use super::Link;

/// Interfaces on top of each other that are followed down to the port. More than any sane stack.
const STACK_LIMIT: usize = 8;

/// The tag of a VLAN interface, and the interface below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// VLAN identifier, 0 to 4,094.
    pub id: u16,
    /// Type of the tag.
    pub protocol: VlanProtocol,
    /// Index of the interface that it is made on.
    pub parent: u32,
}

/// Type of a VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanProtocol {
    /// IEEE 802.1Q, a customer's tag.
    Customer,
    /// IEEE 802.1ad, a provider's tag.
    Provider,
}

impl Vlan {
    /// The tag in network byte order: type, then priority 0 and identifier.
    pub const fn tag(&self) -> [u8; 4] {
        let [type_high, type_low] = match self.protocol {
            VlanProtocol::Customer => [0x81, 0x00],
            VlanProtocol::Provider => [0x88, 0xa8],
        };
        let [id_high, id_low] = self.id.to_be_bytes();
        [type_high, type_low, id_high, id_low]
    }
}

/// Where the frames of a VLAN interface really go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Index of the interface below all VLANs.
    pub port: u32,
    /// The tags, outer one first; at least one.
    pub tags: Vec<Vlan>,
}

/// The trunk below a VLAN interface; none for an interface that is no VLAN, or whose parents are not all known.
pub fn trunk(links: &BTreeMap<u32, Link>, index: u32) -> Option<Trunk> {
    let mut tags = Vec::new();
    let mut at = index;
    for _ in 0..STACK_LIMIT {
        let Some(vlan) = links.get(&at)?.vlan else { break };
        tags.push(vlan);
        at = vlan.parent;
    }
    if tags.is_empty() || links.get(&at)?.vlan.is_some() {
        return None;
    }
    // The interface on top adds its tag first, so it lies innermost.
    tags.reverse();
    Some(Trunk { port: at, tags })
}

/// What a message says of an interface's VLAN.
pub(super) fn of_message(message: &LinkMessage) -> Option<Vlan> {
    let mut parent = None;
    let (mut id, mut protocol) = (None, VlanProtocol::Customer);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            // The parent is in another network namespace: its index means nothing here.
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos.iter().filter_map(vlan_info).flatten() {
                    match info {
                        InfoVlan::Id(value) => id = Some(*value),
                        InfoVlan::Protocol(NetlinkProtocol::Ieee8021Ad) => protocol = VlanProtocol::Provider,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Vlan { id: id?, protocol, parent: parent? })
}

fn vlan_info(info: &LinkInfo) -> Option<&[InfoVlan]> {
    match info {
        LinkInfo::Data(InfoData::Vlan(infos)) => Some(infos),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Medium;

    fn link(index: u32, vlan: Option<(u16, u32)>) -> (u32, Link) {
        let link = Link {
            index,
            name: format!("if{index}"),
            medium: Medium::Ethernet,
            mac: None,
            mtu: 1_500,
            up: true,
            resolves_neighbours: true,
            kind: None,
            lower: None,
            controller: None,
            port_kind: None,
            vlan: vlan.map(|(id, parent)| Vlan { id, protocol: VlanProtocol::Customer, parent }),
            xdp: None,
        };
        (index, link)
    }

    #[test]
    fn a_vlan_on_a_vlan_has_its_own_tag_innermost() {
        let links = BTreeMap::from([link(2, None), link(3, Some((100, 2))), link(4, Some((200, 3)))]);
        assert_eq!(trunk(&links, 2), None);
        let ids = |index| {
            let trunk = trunk(&links, index)?;
            Some((trunk.port, trunk.tags.iter().map(|vlan| vlan.id).collect::<Vec<_>>()))
        };
        assert_eq!(ids(3), Some((2, vec![100])));
        assert_eq!(ids(4), Some((2, vec![100, 200])));
        assert_eq!(ids(9), None);
    }

    #[test]
    fn a_parent_that_is_not_known_and_a_circle_are_no_trunk() {
        let links = BTreeMap::from([link(3, Some((100, 2))), link(4, Some((1, 5))), link(5, Some((2, 4)))]);
        assert_eq!(trunk(&links, 3), None);
        assert_eq!(trunk(&links, 4), None);
    }

    #[test]
    fn a_tag_lies_in_the_frame_with_its_type_first() {
        let vlan = Vlan { id: 0x123, protocol: VlanProtocol::Provider, parent: 2 };
        assert_eq!(vlan.tag(), [0x88, 0xa8, 0x01, 0x23]);
    }
}
