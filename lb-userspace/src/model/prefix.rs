//! An address, or a network of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address, or a network of them. Always holds: bits behind the prefix are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// A network; none if the length is more than the family's, or bits behind it are set.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let prefix = Self { address, bits };
        (bits <= prefix.most_bits() && prefix.masked(address) == address).then_some(prefix)
    }

    /// The network of that length which an address is in; none if the length is more than the family's.
    pub fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let prefix = Self { address, bits };
        (bits <= prefix.most_bits()).then(|| Self { address: prefix.masked(address), bits })
    }

    /// The first address; the address itself, if it is a single one.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Length in bits, of the family's own 32 or 128.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Bits that are left to the addresses within.
    pub const fn host_bits(&self) -> u8 {
        self.most_bits() - self.bits
    }

    /// The address, if it is a single one.
    pub fn single(&self) -> Option<IpAddr> {
        (self.host_bits() == 0).then_some(self.address)
    }

    /// Whether it is of IPv4.
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && self.masked(address) == self.address
    }

    const fn most_bits(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn masked(&self, address: IpAddr) -> IpAddr {
        let host_bits = u32::from(self.host_bits());
        match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

/// An address alone, or with the length: `203.0.113.0/28`.
impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => address.fmt(formatter),
            None => write!(formatter, "{}/{}", self.address, self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_no_bits_behind_its_prefix() {
        assert!(Prefix::new(ip("203.0.113.16"), 28).is_some());
        assert!(Prefix::new(ip("203.0.113.17"), 28).is_none());
        assert!(Prefix::new(ip("203.0.113.17"), 33).is_none());
        assert_eq!(Prefix::around(ip("2001:db8::77"), 64), Prefix::new(ip("2001:db8::"), 64));
        assert_eq!(Prefix::around(ip("10.0.0.1"), 0), Prefix::new(ip("0.0.0.0"), 0));
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let network = Prefix::new(ip("203.0.113.16"), 28).unwrap();
        for (address, inside) in
            [("203.0.113.16", true), ("203.0.113.31", true), ("203.0.113.32", false), ("2001:db8::", false)]
        {
            assert_eq!(network.contains(ip(address)), inside, "{address}");
        }
        assert!(Prefix::from(ip("2001:db8::1")).contains(ip("2001:db8::1")));
        assert_eq!(Prefix::new(ip("10.0.0.1"), 32), Some(ip("10.0.0.1").into()));
    }

    #[test]
    fn a_single_address_is_written_without_its_length() {
        assert_eq!(Prefix::from(ip("203.0.113.7")).to_string(), "203.0.113.7");
        assert_eq!(Prefix::new(ip("2001:db8::"), 64).unwrap().to_string(), "2001:db8::/64");
    }
}
