//! Where tunnels end: the addresses of the interface, and of VLAN interfaces on it.

use super::Prefix;
use crate::netlink::{Link, Netlink, NetlinkError};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// VLAN interfaces on VLAN interfaces that are followed: as many tags as the program reads.
const MAX_TAGS: usize = 2;

/// Kind of a VLAN interface, as the kernel names it.
const VLAN: &str = "vlan";

/// The interface of that index and the VLAN interfaces on it: where the stack finds what the program passes.
pub fn stack_interfaces(links: &[Link], ifindex: u32) -> Vec<&Link> {
    let mut found: Vec<&Link> = links.iter().filter(|link| link.index == ifindex).collect();
    let mut below = vec![ifindex];
    for _ in 0..MAX_TAGS {
        let is_on = |link: &&Link| {
            link.kind.as_deref() == Some(VLAN) && link.lower.is_some_and(|lower| below.contains(&lower))
        };
        let upper: Vec<&Link> = links.iter().filter(is_on).collect();
        below = upper.iter().map(|link| link.index).collect();
        found.extend(upper);
    }
    found
}

/// Every address of these interfaces that is not among the VIPs.
///
/// # Errors
/// When the kernel cannot be asked.
pub async fn of_interfaces(
    netlink: &Netlink,
    interfaces: &[&Link],
    vips: &[Prefix],
) -> Result<BTreeSet<IpAddr>, NetlinkError> {
    let mut addresses = BTreeSet::new();
    for link in interfaces {
        let found = netlink.addresses(link.index).await?.into_iter().map(|found| found.address);
        addresses.extend(found.filter(|address| !vips.iter().any(|vip| vip.covers(*address))));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Medium;

    fn link(index: u32, kind: Option<&str>, lower: Option<u32>) -> Link {
        Link {
            index,
            name: format!("if{index}"),
            medium: Medium::Ethernet,
            mac: None,
            mtu: 1500,
            up: true,
            resolves_neighbours: true,
            kind: kind.map(str::to_owned),
            lower,
            controller: None,
            port_kind: None,
            vlan: None,
            xdp: None,
        }
    }

    #[test]
    fn vlan_interfaces_are_followed_as_far_as_tags_are_read() {
        let links = [
            link(1, None, None),
            link(2, Some("vlan"), Some(1)),
            link(3, Some("vlan"), Some(2)),
            link(4, Some("vlan"), Some(3)),
            link(5, Some("macvlan"), Some(1)),
            link(6, Some("vlan"), Some(9)),
        ];
        let indexes = |ifindex| -> Vec<u32> {
            stack_interfaces(&links, ifindex).iter().map(|link| link.index).collect()
        };
        assert_eq!(indexes(1), [1, 2, 3]);
        assert_eq!(indexes(4), [4]);
    }
}
