//! Where tunnels end: the addresses of the interface, and of VLAN interfaces on it.

use super::Prefix;
use crate::netlink::{Link, Netlink, NetlinkError};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// VLAN interfaces on VLAN interfaces that are followed: as many tags as the program reads.
const MAX_TAGS: usize = 2;

/// The interface of that index and the VLAN interfaces on it: where the stack finds what the program passes.
pub fn stack_interfaces(links: &[Link], ifindex: u32) -> Vec<&Link> {
    let mut found: Vec<&Link> = links.iter().filter(|link| link.index == ifindex).collect();
    let mut below = vec![ifindex];
    for _ in 0..MAX_TAGS {
        // A parent in another network namespace is none: its index is that of another interface here.
        let is_on = |link: &&Link| link.vlan.is_some_and(|vlan| below.contains(&vlan.parent));
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
    use crate::netlink::{Vlan, VlanProtocol};

    fn link(index: u32, lower: Option<u32>, parent: Option<u32>) -> Link {
        let vlan = parent.map(|parent| Vlan { id: 1, protocol: VlanProtocol::Customer, parent });
        Link { lower, vlan, ..Link::ethernet(index, &format!("if{index}")) }
    }

    #[test]
    fn vlan_interfaces_are_followed_as_far_as_tags_are_read() {
        let links = [
            link(1, None, None),
            link(2, Some(1), Some(1)),
            link(3, Some(2), Some(2)),
            link(4, Some(3), Some(3)),
            // No VLAN, and one whose parent has the same index in another network namespace.
            link(5, Some(1), None),
            Link { kind: Some("vlan".to_owned()), ..link(6, Some(1), None) },
            link(7, Some(9), Some(9)),
        ];
        let indexes = |ifindex| -> Vec<u32> {
            stack_interfaces(&links, ifindex).iter().map(|link| link.index).collect()
        };
        assert_eq!(indexes(1), [1, 2, 3]);
        assert_eq!(indexes(4), [4]);
    }
}
