//! Addresses of an interface, and the VIPs that the agent puts there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use rustix::io::Errno;

use super::connection::{family_of, host_prefix_length};
use super::{Netlink, NetlinkError};

/// Marks the addresses that the agent added (`IFA_PROTO`, kernel 5.18 and later; the kernel itself uses 1 to 3).
/// `ip address show proto 0x4c` lists them, with an iproute2 that knows the option.
pub const VIP_PROTOCOL: u8 = 0x4c;

/// A lifetime that never ends (`INFINITY_LIFE_TIME`).
const LIFETIME_FOR_EVER: u32 = u32::MAX;

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits.
    pub prefix_length: u8,
    /// The agent added it.
    pub ours: bool,
    /// IPv6: duplicate address detection still runs, or found a duplicate; the address cannot be used.
    pub tentative: bool,
}

impl Address {
    /// Whether it is alone in its network, as VIPs are.
    pub fn is_host(&self) -> bool {
        self.prefix_length == host_prefix_length(self.address)
    }

    /// Whether `other` is in the network that the address is in.
    pub fn network_has(&self, other: IpAddr) -> bool {
        let (bits, mine, other) = match (self.address, other) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                (32, u128::from(mine.to_bits()), u128::from(other.to_bits()))
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => (128, mine.to_bits(), other.to_bits()),
            _ => return false,
        };
        let host_bits = u32::saturating_sub(bits, u32::from(self.prefix_length));
        (mine ^ other).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

impl Netlink {
    /// The addresses of an interface, both families.
    ///
    /// # Errors
    /// When the kernel cannot be asked. An interface that does not exist has no addresses.
    pub async fn addresses(&self, ifindex: u32) -> Result<Vec<Address>, NetlinkError> {
        let query = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("list addresses", query).await?;
        let addresses = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == ifindex => {
                from_message(message)
            }
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// The addresses of every interface, both families, by the interface's index.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn all_addresses(&self) -> Result<BTreeMap<u32, Vec<Address>>, NetlinkError> {
        let query = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
        for answer in self.dump("list addresses", query).await? {
            if let RouteNetlinkMessage::NewAddress(message) = answer
                && let Some(address) = from_message(&message)
            {
                addresses.entry(message.header.index).or_default().push(address);
            }
        }
        Ok(addresses)
    }

    /// Puts a VIP on an interface as /32 or /128, marked as ours. `Ok(false)`: it has the address already, whoever
    /// added it, and nothing changes.
    ///
    /// An IPv6 VIP is usable at once (no duplicate address detection, which would cost a second at every takeover)
    /// and is deprecated (RFC 4862 section 5.5.4), so that the node does not send from it of its own accord.
    ///
    /// # Errors
    /// When the kernel refuses: no such interface, no privileges, IPv6 disabled on the interface.
    pub async fn add_vip(&self, ifindex: u32, vip: IpAddr) -> Result<bool, NetlinkError> {
        if self.find(ifindex, vip).await?.is_some() {
            return Ok(false);
        }
        let mut message = host_address(ifindex, vip);
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(VIP_PROTOCOL)));
        if vip.is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = LIFETIME_FOR_EVER;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request("add a VIP", message, flags).await {
            Err(error) if error.refusal() == Some(Errno::EXIST) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// Removes a VIP that the agent added. `Ok(false)`: it is not there, or it is not ours and stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_vip(&self, ifindex: u32, vip: IpAddr) -> Result<bool, NetlinkError> {
        let Some(Address { ours: true, .. }) = self.find(ifindex, vip).await? else {
            return Ok(false);
        };
        let message = RouteNetlinkMessage::DelAddress(host_address(ifindex, vip));
        match self.request("remove a VIP", message, NLM_F_ACK).await {
            Err(error) if matches!(error.refusal(), Some(Errno::ADDRNOTAVAIL | Errno::NODEV)) => Ok(false),
            other => other.map(|_| true),
        }
    }

    async fn find(&self, ifindex: u32, address: IpAddr) -> Result<Option<Address>, NetlinkError> {
        let addresses = self.addresses(ifindex).await?;
        Ok(addresses.into_iter().find(|candidate| candidate.address == address))
    }
}

fn host_address(ifindex: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(address);
    message.header.prefix_len = host_prefix_length(address);
    message.header.index = ifindex;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn from_message(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut remote = None;
    let mut ours = false;
    let mut tentative = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Protocol(protocol) => ours = u8::from(*protocol) == VIP_PROTOCOL,
            AddressAttribute::Flags(flags) => {
                tentative = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
            }
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other end; without one the two are the same.
    let address = local.or(remote)?;
    Some(Address { address, prefix_length: message.header.prefix_len, ours, tentative })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        let has = |network: &str, prefix_length, other: &str| {
            let address = network.parse().unwrap();
            let address = Address { address, prefix_length, ours: false, tentative: false };
            address.network_has(other.parse().unwrap())
        };
        assert!(has("192.0.2.1", 24, "192.0.2.200") && !has("192.0.2.1", 24, "192.0.3.1"));
        assert!(has("192.0.2.1", 32, "192.0.2.1") && !has("192.0.2.1", 32, "192.0.2.2"));
        assert!(has("2001:db8::1", 64, "2001:db8::ffff") && !has("2001:db8::1", 64, "2001:db8:0:1::1"));
        assert!(has("0.0.0.0", 0, "192.0.2.1") && has("::1", 0, "2001:db8::1"));
        assert!(!has("::1", 0, "192.0.2.1"));
    }
}
