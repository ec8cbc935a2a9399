//! A prefix of addresses, as it is written on the command line.

use lb_common::decap::PrefixKey;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address, or a prefix whose bits behind the length are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not an address with or without a length.
    #[error("{0:?} is neither an address nor ADDRESS/LENGTH")]
    Malformed(String),
    /// The length is beyond the family's.
    #[error("{text}: an address of this family has {most} bits")]
    TooLong {
        /// What was given.
        text: String,
        /// Most bits.
        most: u8,
    },
    /// Bits behind the length are set.
    #[error("{text} has bits set behind its length; did you mean {meant}, or {single} alone?")]
    HostBits {
        /// What was given.
        text: String,
        /// The prefix that it is in.
        meant: Prefix,
        /// Its address.
        single: IpAddr,
    },
    /// An IPv4 address in the form that IPv6 sockets have for it.
    #[error("{0} is an IPv4 address in IPv6 form; write it as IPv4")]
    Mapped(String),
}

impl Prefix {
    /// The first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that count.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether it is one address.
    pub const fn is_single(&self) -> bool {
        self.length == most_bits(self.address)
    }

    /// Some address of it; not the first where there are more, which may be a subnet's own.
    pub fn sample(&self) -> IpAddr {
        if self.is_single() {
            return self.address;
        }
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() | 1).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | 1).into(),
        }
    }

    /// Whether `address` is in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && truncated(address, self.length) == self.address
    }

    /// As the program's maps have it.
    pub fn key(&self) -> PrefixKey {
        let before = if self.address.is_ipv4() { PrefixKey::MAPPED_BITS } else { 0 };
        PrefixKey { bits: before + u32::from(self.length), address: lb_common::abi::address(self.address) }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { address, length: most_bits(address) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(PrefixError::Mapped(text.to_owned()));
        }
        let most = most_bits(address);
        let length = match length {
            // `+8` is a number to the standard library.
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_err(|_| malformed())?
            }
            Some(_) => return Err(malformed()),
            None => most,
        };
        if length > most {
            return Err(PrefixError::TooLong { text: text.to_owned(), most });
        }
        let first = truncated(address, length);
        if first != address {
            let meant = Self { address: first, length };
            return Err(PrefixError::HostBits { text: text.to_owned(), meant, single: address });
        }
        Ok(Self { address, length })
    }
}

const fn most_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits behind `length` cleared.
fn truncated(address: IpAddr, length: u8) -> IpAddr {
    let host_bits = u32::from(most_bits(address).saturating_sub(length));
    match address {
        IpAddr::V4(address) => {
            Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["203.0.113.10", "203.0.113.0/28", "2001:db8::10", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("203.0.113.10/32").to_string(), "203.0.113.10");
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_what_was_meant() {
        let said = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
        assert!(said("203.0.113.10/28").contains("did you mean 203.0.113.0/28, or 203.0.113.10 alone?"));
        assert!(said("10.0.0.0/33").contains("32 bits"));
        assert!(said("::ffff:10.0.0.1").contains("as IPv4"));
        for text in ["", "web1", "10.0.0.1/", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/8/8", "::1%lo"] {
            assert!(matches!(text.parse::<Prefix>(), Err(PrefixError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_prefix_covers_its_own_family_and_the_map_s_key_agrees() {
        let cases = [
            ("203.0.113.0/28", "203.0.113.15", true),
            ("203.0.113.0/28", "203.0.113.16", false),
            ("::/0", "203.0.113.1", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ];
        for (text, address, wanted) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(prefix(text).covers(address), wanted, "{text} {address}");
            let key = prefix(text).key();
            assert_eq!(key.covers(&lb_common::abi::address(address)), wanted, "{text} {address}");
            assert_eq!(PrefixKey::new(prefix(text).address(), prefix(text).length()), Some(key));
        }
    }

    #[test]
    fn a_sample_is_in_the_prefix_and_not_its_first_address() {
        assert_eq!(prefix("203.0.113.0/28").sample(), prefix("203.0.113.1").address());
        assert_eq!(prefix("203.0.113.10").sample(), prefix("203.0.113.10").address());
        assert_eq!(prefix("2001:db8::/64").sample(), prefix("2001:db8::1").address());
    }
}
