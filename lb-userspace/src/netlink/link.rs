//! Network interfaces and the XDP programs on them.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoPortKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
    XdpAttached,
};
use rustix::io::Errno;

use super::vlan::{self, Vlan};
use super::{Mac, Netlink, NetlinkError};

/// A network interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index; unique in the network namespace, never 0.
    pub index: u32,
    /// Name, 1 to 15 bytes.
    pub name: String,
    /// What the link layer is.
    pub medium: Medium,
    /// Ethernet address, when it has one of 6 bytes.
    pub mac: Option<Mac>,
    /// Largest network-layer packet in bytes.
    pub mtu: u32,
    /// Administratively up and operational (carrier present).
    pub up: bool,
    /// Finds neighbours by ARP or neighbour discovery.
    pub resolves_neighbours: bool,
    /// Kind of a virtual interface as `ip -d link` shows it: `veth`, `vlan`, `bond`, `bridge`…
    pub kind: Option<String>,
    /// Index of the interface below (VLAN, macvlan) or the other end (veth, possibly in another namespace).
    pub lower: Option<u32>,
    /// Index of the bond, bridge or VRF that this interface is a port of.
    pub controller: Option<u32>,
    /// What kind of port it is there.
    pub port_kind: Option<PortKind>,
    /// What its frames are tagged with, if it is a VLAN interface whose parent is in this network namespace.
    pub vlan: Option<Vlan>,
    /// The XDP program on it, anybody's.
    pub xdp: Option<XdpAttachment>,
}

#[cfg(test)]
impl Link {
    /// A running Ethernet card, for tests.
    pub(crate) fn ethernet(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            medium: Medium::Ethernet,
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1_500,
            up: true,
            resolves_neighbours: true,
            kind: None,
            lower: None,
            controller: None,
            port_kind: None,
            vlan: None,
            xdp: None,
        }
    }
}

/// The link layer of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Ethernet frames.
    Ethernet,
    /// The node itself.
    Loopback,
    /// Anything else: tunnels without link-layer addresses, `InfiniBand`…
    Other,
}

/// What an interface is a port of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A bond, which decides about the port's frames.
    Bond,
    /// A bridge.
    Bridge,
    /// A team, a VRF, Open vSwitch and others.
    Other,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpAttachment {
    /// Where it runs.
    pub mode: XdpAttachmentMode,
    /// The kernel's id of the program (`bpftool prog show id …`); with several programs, of the one that runs first.
    pub program_id: u32,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAttachmentMode {
    /// In the driver (native).
    Driver,
    /// After the skb is made (generic).
    Generic,
    /// On the device.
    Hardware,
    /// More than one of the above.
    Multiple,
}

impl Netlink {
    /// All interfaces, in the kernel's order.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.dump("list interfaces", RouteNetlinkMessage::GetLink(query())).await?;
        Ok(answers.iter().filter_map(from_answer).collect())
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`NetlinkError::NoSuchLink`], or when the kernel cannot be asked.
    pub async fn link_by_name(&self, name: &str) -> Result<Link, NetlinkError> {
        let mut message = query();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message, name.to_owned()).await
    }

    /// The interface of this name, if there is one: to not know is no answer.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn find_link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        match self.link_by_name(name).await {
            Ok(link) => Ok(Some(link)),
            Err(NetlinkError::NoSuchLink { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The interface of this index.
    ///
    /// # Errors
    /// [`NetlinkError::NoSuchLink`], or when the kernel cannot be asked.
    pub async fn link_by_index(&self, index: u32) -> Result<Link, NetlinkError> {
        let mut message = query();
        message.header.index = index;
        self.one_link(message, format!("#{index}")).await
    }

    async fn one_link(&self, message: LinkMessage, link: String) -> Result<Link, NetlinkError> {
        let operation = "look up an interface";
        match self.request(operation, RouteNetlinkMessage::GetLink(message), 0).await {
            // ERANGE: a name longer than the kernel allows; EINVAL: index 0 or an empty name.
            Err(error) if matches!(error.refusal(), Some(Errno::NODEV | Errno::RANGE | Errno::INVAL)) => {
                Err(NetlinkError::NoSuchLink { link })
            }
            Err(error) => Err(error),
            Ok(answers) => answers.iter().find_map(from_answer).ok_or(NetlinkError::Closed { operation }),
        }
    }
}

fn query() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn from_answer(answer: &RouteNetlinkMessage) -> Option<Link> {
    match answer {
        RouteNetlinkMessage::NewLink(message) => Some(from_message(message)),
        _ => None,
    }
}

fn from_message(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        medium: medium_of(message.header.link_layer_type, flags),
        mac: None,
        mtu: 0,
        // The kernel sets RUNNING from the operational state, also for drivers that do not track it.
        up: flags.contains(LinkFlags::Up | LinkFlags::Running),
        resolves_neighbours: !flags.contains(LinkFlags::Noarp),
        kind: None,
        lower: None,
        controller: None,
        port_kind: None,
        vlan: None,
        xdp: None,
    };
    for attribute in &message.attributes {
        apply(&mut link, attribute);
    }
    link.vlan = vlan::of_message(message);
    link
}

fn apply(link: &mut Link, attribute: &LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => link.name.clone_from(name),
        LinkAttribute::Address(bytes) => link.mac = Mac::try_from(bytes.as_slice()).ok(),
        LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
        LinkAttribute::Link(index) => link.lower = Some(*index),
        LinkAttribute::Controller(index) => link.controller = Some(*index),
        LinkAttribute::LinkInfo(infos) => {
            link.kind = infos.iter().find_map(|info| match info {
                LinkInfo::Kind(kind) => Some(kind.to_string()),
                _ => None,
            });
            link.port_kind = infos.iter().find_map(|info| match info {
                LinkInfo::PortKind(kind) => Some(port_kind(kind)),
                _ => None,
            });
        }
        LinkAttribute::Xdp(attributes) => link.xdp = xdp_attachment(attributes),
        _ => {}
    }
}

fn port_kind(kind: &InfoPortKind) -> PortKind {
    match kind {
        InfoPortKind::Bond => PortKind::Bond,
        InfoPortKind::Bridge => PortKind::Bridge,
        _ => PortKind::Other,
    }
}

fn medium_of(layer: LinkLayerType, flags: LinkFlags) -> Medium {
    if flags.contains(LinkFlags::Loopback) {
        return Medium::Loopback;
    }
    match layer {
        LinkLayerType::Ether => Medium::Ethernet,
        _ => Medium::Other,
    }
}

fn xdp_attachment(attributes: &[LinkXdp]) -> Option<XdpAttachment> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpAttachmentMode::Driver),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpAttachmentMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpAttachmentMode::Hardware),
        LinkXdp::Attached(XdpAttached::Multiple | XdpAttached::Other(_)) => Some(XdpAttachmentMode::Multiple),
        _ => None,
    })?;
    let program_id = attributes.iter().filter_map(program_in_order).min()?.1;
    Some(XdpAttachment { mode, program_id })
}

/// The program's id with its place in the order in which packets meet the programs.
fn program_in_order(attribute: &LinkXdp) -> Option<(u8, u32)> {
    match *attribute {
        LinkXdp::HwProgId(id) => Some((0, id)),
        LinkXdp::DrvProgId(id) => Some((1, id)),
        LinkXdp::SkbProgId(id) => Some((2, id)),
        LinkXdp::ProgId(id) => Some((3, id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, VlanProtocol as NetlinkProtocol};
    use rtnetlink::packet_core::{Emitable, Parseable};

    use super::*;
    use crate::netlink::VlanProtocol;

    #[test]
    fn no_program_is_no_attachment() {
        assert_eq!(xdp_attachment(&[LinkXdp::Attached(XdpAttached::None)]), None);
        assert_eq!(xdp_attachment(&[]), None);
    }

    #[test]
    fn one_program_has_its_mode_and_id() {
        let attributes =
            [LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(9), LinkXdp::SkbProgId(9)];
        let expected = XdpAttachment { mode: XdpAttachmentMode::Generic, program_id: 9 };
        assert_eq!(xdp_attachment(&attributes), Some(expected));
    }

    #[test]
    fn of_several_programs_the_driver_one_runs_before_the_generic_one() {
        let attributes =
            [LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::SkbProgId(3), LinkXdp::DrvProgId(8)];
        let expected = XdpAttachment { mode: XdpAttachmentMode::Multiple, program_id: 8 };
        assert_eq!(xdp_attachment(&attributes), Some(expected));
    }

    /// What is read of a message, through bytes, as the kernel's answers come: not every kernel has bonds and VLANs.
    fn link(index: u32, attributes: Vec<LinkAttribute>) -> Link {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        from_message(&LinkMessage::parse(bytes.as_slice()).unwrap())
    }

    #[test]
    fn a_vlan_has_its_tag_and_its_parent_if_that_is_here() {
        let info = |protocol| {
            let data = InfoData::Vlan(vec![InfoVlan::Id(4_094), InfoVlan::Protocol(protocol)]);
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(data)])
        };
        let seen = link(4, vec![LinkAttribute::Link(2), info(NetlinkProtocol::Ieee8021Q)]);
        let expected = Vlan { id: 4_094, protocol: VlanProtocol::Customer, parent: 2 };
        assert_eq!((seen.vlan, seen.kind.as_deref()), (Some(expected), Some("vlan")));
        let seen = link(4, vec![LinkAttribute::Link(2), info(NetlinkProtocol::Ieee8021Ad)]);
        assert_eq!(seen.vlan, Some(Vlan { protocol: VlanProtocol::Provider, ..expected }));
        let elsewhere =
            vec![LinkAttribute::Link(2), LinkAttribute::LinkNetNsId(0), info(NetlinkProtocol::Ieee8021Q)];
        assert_eq!(link(4, elsewhere).vlan, None);
        assert_eq!(link(4, vec![LinkAttribute::Link(2)]).vlan, None);
    }

    #[test]
    fn a_bond_and_its_port_are_told_apart() {
        let bond = link(7, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bond)])]);
        assert_eq!((bond.kind.as_deref(), bond.port_kind, bond.controller), (Some("bond"), None, None));
        let info = LinkInfo::PortKind(InfoPortKind::Bond);
        let port = link(3, vec![LinkAttribute::Controller(7), LinkAttribute::LinkInfo(vec![info])]);
        assert_eq!((port.port_kind, port.controller), (Some(PortKind::Bond), Some(bond.index)));
        let info = LinkInfo::PortKind(InfoPortKind::Other("ovs".to_owned()));
        let port = link(4, vec![LinkAttribute::Controller(8), LinkAttribute::LinkInfo(vec![info])]);
        assert_eq!(port.port_kind, Some(PortKind::Other));
    }

    #[test]
    fn an_interface_without_carrier_is_not_up() {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up | LinkFlags::Broadcast;
        assert!(!from_message(&message).up);
        message.header.flags |= LinkFlags::Running;
        assert!(from_message(&message).up);
    }
}
