//! VLANs, bonds and bridges by hand.

use super::*;
use crate::config;
use crate::netlink::Vlan;
use std::path::Path;

fn node(interfaces: &str) -> Node {
    let text = format!("[node]\ninterfaces = {interfaces}\n");
    config::parse(&text, Path::new("test.toml")).unwrap().model.node
}

fn vlan(index: u32, name: &str, id: u16, parent: u32) -> Link {
    Link { vlan: Some(Vlan { id, protocol: VlanProtocol::Customer, parent }), ..Link::ethernet(index, name) }
}

fn table(links: impl IntoIterator<Item = Link>) -> Links {
    links.into_iter().map(|link| (link.index, link)).collect()
}

/// A trunk with a VLAN, one on top of it, and one on an interface that the node does not name.
fn trunks() -> Links {
    table([
        Link::ethernet(2, "eth0"),
        Link::ethernet(3, "eth1"),
        vlan(4, "eth0.100", 100, 2),
        vlan(5, "eth0.100.7", 7, 4),
        vlan(6, "eth1.9", 9, 3),
    ])
}

fn hop(ifindex: u32) -> Hop {
    Hop {
        ifindex,
        source_mac: [2; 6],
        destination_mac: None,
        mtu_bytes: 1_500,
        preferred_source: None,
        gateway: false,
    }
}

fn ways(ifindexes: &[u32]) -> BTreeMap<IpAddr, Option<Hop>> {
    let addresses = (1..).map(|last| IpAddr::from([10, 0, 0, last]));
    addresses.zip(ifindexes.iter().map(|ifindex| Some(hop(*ifindex)))).collect()
}

#[test]
fn vlans_over_the_nodes_interfaces_and_on_ways_are_sent_by() {
    let (links, node) = (trunks(), node("[\"eth0\"]"));
    let tag = |id: u8| u32::from_ne_bytes([0x81, 0, 0, id]);
    let of_100 = (4, abi::Link { port: 2, tags: [tag(100), 0] });
    let of_7 = (5, abi::Link { port: 2, tags: [tag(100), tag(7)] });
    assert_eq!(vlans(&node, &links, &BTreeMap::new()), BTreeMap::from([of_100, of_7]));
    let of_9 = (6, abi::Link { port: 3, tags: [tag(9), 0] });
    let hops = ways(&[6]);
    let sent_by = vlans(&node, &links, &hops);
    assert_eq!(sent_by, BTreeMap::from([of_100, of_7, of_9]));
    assert_eq!(devices(&node, &links, &hops, &sent_by), BTreeSet::from([2, 3]));
    let names: Vec<&str> = interfaces(&node, &links).iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["eth0", "eth0.100", "eth0.100.7"]);
}

#[test]
fn of_too_many_vlans_those_on_ways_are_kept() {
    let ids = 0..400;
    let links = table(
        ids.map(|id: u16| vlan(1_000 + u32::from(id), &format!("v{id}"), id, 2))
            .chain([Link::ethernet(2, "eth0")]),
    );
    let last = 1_399;
    let sent_by = vlans(&node("[\"eth0\"]"), &links, &ways(&[last]));
    assert_eq!((sent_by.len(), sent_by.contains_key(&last)), (LINKS_LIMIT, true));
    assert!(notices(&node("[\"eth0\"]"), &links).iter().any(|notice| notice.contains("at most")));
}

#[test]
fn a_third_tag_is_not_sent_and_said() {
    let mut links = trunks();
    links.insert(7, vlan(7, "deep", 1, 5));
    assert!(!vlans(&node("[\"eth0\"]"), &links, &ways(&[7])).contains_key(&7));
    let said = notices(&node("[\"eth0\"]"), &links);
    assert!(said.iter().any(|notice| notice.contains("deep has 3 VLAN tags")), "{said:?}");
}

#[test]
fn a_second_tag_costs_four_bytes_of_the_ports_mtu() {
    let links = trunks();
    assert_eq!(fitted(hop(2), &links).mtu_bytes, 1_500);
    assert_eq!(fitted(hop(4), &links).mtu_bytes, 1_500);
    assert_eq!(fitted(hop(5), &links).mtu_bytes, 1_496);
    let said = notices(&node("[\"eth0\"]"), &links);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("ip link set dev eth0.100.7 mtu 1496"), "{said:?}");
    assert!(said[0].contains("ip link set dev eth0 mtu 1504"), "{said:?}");
}

#[test]
fn what_to_name_instead_is_said() {
    let port = |kind, controller| Link {
        port_kind: Some(kind),
        controller: Some(controller),
        ..Link::ethernet(2, "eth0")
    };
    let said = |interfaces, links| notices(&node(interfaces), &links).join("\n");
    let text = said("[\"eth0\"]", table([port(PortKind::Bond, 9), Link::ethernet(9, "bond0")]));
    assert!(text.contains("eth0 is a port of bond0: name bond0"), "{text}");
    let text = said("[\"eth0\"]", table([port(PortKind::Bridge, 9), Link::ethernet(9, "br0")]));
    assert!(text.contains("eth0 is a port of the bridge br0") && text.contains("nomaster"), "{text}");
    let text = said("[\"eth0.100\"]", table([Link::ethernet(2, "eth0"), vlan(4, "eth0.100", 100, 2)]));
    assert!(text.contains("eth0.100 is a VLAN interface") && text.contains("name eth0 in"), "{text}");
    assert_eq!(said("[\"bond0\"]", table([port(PortKind::Bond, 9), Link::ethernet(9, "bond0")])), "");
}

#[test]
fn ways_that_leave_by_interfaces_without_the_program_are_told() {
    let of_kind =
        |index, name, kind: &str| Link { kind: Some(kind.to_owned()), ..Link::ethernet(index, name) };
    let mut links = trunks();
    links.extend(table([of_kind(7, "br0", "bridge"), of_kind(8, "v0", "veth")]));
    let said = |ways: &[u32]| {
        egress_notices(&node("[\"eth0\"]"), &links, &ways.iter().copied().collect()).join("\n")
    };
    assert_eq!(said(&[2, 4, 5]), "", "the port, and VLANs on top of it");
    assert!(said(&[6]).contains("add \"eth1\" to node.interfaces"), "{}", said(&[6]));
    assert!(said(&[8]).contains("add \"v0\""), "{}", said(&[8]));
    assert!(said(&[7]).contains("br0, a bridge, which cannot send"), "{}", said(&[7]));
    assert_eq!(said(&[99]), "", "an interface that is gone");
}
