//! Addresses as they are written: VIPs and networks of them, and backends with or without a port.
//!
//! Role: text to address, and which addresses cannot be used. Imports `bounds` and model.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::bounds::{NETWORK_BITS_V4, NETWORK_BITS_V6};
use crate::model::Prefix;

/// Why a text is no usable address: the reason and what to write instead.
pub(super) struct AddressError {
    pub reason: &'static str,
    pub hint: Cow<'static, str>,
}

impl AddressError {
    fn new(reason: &'static str, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, hint: hint.into() }
    }
}

const HOST_FORM: &str = "write an IP address, such as \"203.0.113.10\" or \"2001:db8::10\"";
const BACKEND_FORM: &str = "write \"10.0.0.11:80\", \"10.0.0.11\", \"[2001:db8::11]:80\" or \"2001:db8::11\"";

/// Reads the address of an interface or a VIP: an IP address alone.
pub(super) fn parse_host(text: &str) -> Result<IpAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return usable(address);
    }
    let hint: &'static str = if text.contains('/') {
        "write the address without a prefix length"
    } else if text.parse::<SocketAddr>().is_ok() {
        "write the address alone; ports have a key of their own"
    } else {
        HOST_FORM
    };
    Err(AddressError::new("is not an IP address", hint))
}

/// Reads an IP address, or a network of them (`203.0.113.0/28`) whose addresses are all usable.
pub(super) fn parse_network(text: &str) -> Result<Prefix, AddressError> {
    const FORM: &str = "write an address or a network, such as \"203.0.113.10\" or \"203.0.113.0/28\"";
    let Some((address, bits)) = text.split_once('/') else { return parse_host(text).map(Prefix::from) };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>()) else {
        return Err(AddressError::new("is not a network", FORM));
    };
    let Some(around) = Prefix::around(address, bits) else {
        return Err(AddressError::new("is not a network", FORM));
    };
    if around.address() != address {
        let hint = format!("write \"{around}\", or the address alone");
        return Err(AddressError::new("has bits behind its prefix", hint));
    }
    usable(address)?;
    let range = if address.is_ipv4() { NETWORK_BITS_V4 } else { NETWORK_BITS_V6 };
    if !range.contains(&bits) {
        let hint = format!("use /{} to /{}", range.start(), range.end());
        return Err(AddressError::new("is too large a network", hint));
    }
    if around.contains(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into()) {
        return Err(AddressError::new("has IPv4 addresses written as IPv6", "write the IPv4 network itself"));
    }
    Ok(around)
}

/// Reads the address of a backend: an IP address with or without a port (RFC 3986 brackets for IPv6).
pub(super) fn parse_backend(text: &str) -> Result<(IpAddr, Option<u16>), AddressError> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        if socket.port() == 0 {
            return Err(AddressError::new("has port 0", "write a port from 1 to 65535, or none"));
        }
        if matches!(socket, SocketAddr::V6(v6) if v6.scope_id() != 0) {
            return Err(AddressError::new("has a zone (%)", BACKEND_FORM));
        }
        return usable(socket.ip()).map(|address| (address, Some(socket.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse() {
        Ok(address) => usable(address).map(|address| (address, None)),
        Err(_) if looks_like_a_name(text) => Err(AddressError::new(
            "is not an IP address",
            "names are not looked up; write the server's IP address",
        )),
        Err(_) => Err(AddressError::new("is not an address", BACKEND_FORM)),
    }
}

/// Refuses addresses that no server and no VIP can have on a network.
fn usable(address: IpAddr) -> Result<IpAddr, AddressError> {
    let reason = match address {
        _ if address.is_unspecified() => "is the unspecified address",
        _ if address.is_loopback() => "is a loopback address",
        _ if address.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4 == Ipv4Addr::BROADCAST => "is the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            return Err(AddressError::new(
                "is a link-local address, which means nothing without an interface",
                "write a global or unique local address",
            ));
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            return Err(AddressError::new(
                "is an IPv4 address written as IPv6",
                "write the IPv4 address itself, such as \"203.0.113.10\"",
            ));
        }
        _ => return Ok(address),
    };
    Err(AddressError::new(reason, "write an address that hosts on the network reach"))
}

fn looks_like_a_name(text: &str) -> bool {
    let host = text.split(':').next().unwrap_or(text);
    host.chars().any(|c| c.is_ascii_alphabetic()) && !text.contains("::") && !host.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_backend_address_is_read() {
        let read = |text: &str| parse_backend(text).map_err(|error| error.reason);
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.11".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(read("10.0.0.11:80"), Ok((v4, Some(80))));
        assert_eq!(read("10.0.0.11"), Ok((v4, None)));
        assert_eq!(read("[2001:db8::1]:80"), Ok((v6, Some(80))));
        assert_eq!(read("[2001:db8::1]"), Ok((v6, None)));
        assert_eq!(read("2001:db8::1"), Ok((v6, None)));
    }

    #[test]
    fn what_cannot_be_an_address_says_why() {
        let reason = |text: &str| parse_backend(text).map_err(|error| error.reason).unwrap_err();
        assert_eq!(reason("10.0.0.11:0"), "has port 0");
        assert_eq!(reason("10.0.0.11:65536"), "is not an address");
        assert_eq!(reason("web1.example.net:80"), "is not an IP address");
        assert_eq!(reason("0.0.0.0:80"), "is the unspecified address");
        assert_eq!(reason("[::1]:80"), "is a loopback address");
        assert_eq!(reason("224.0.0.1"), "is a multicast address");
        assert_eq!(reason("255.255.255.255"), "is the broadcast address");
        assert!(reason("fe80::1").starts_with("is a link-local"));
        assert_eq!(reason("::ffff:10.0.0.1"), "is an IPv4 address written as IPv6");
        assert_eq!(reason(""), "is not an address");
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix_length() {
        let read =
            |text: &str| parse_network(text).map(|network| network.to_string()).map_err(|error| error.reason);
        assert_eq!(read("203.0.113.0/28"), Ok("203.0.113.0/28".to_owned()));
        assert_eq!(read("203.0.113.7/32"), Ok("203.0.113.7".to_owned()));
        assert_eq!(read("2001:db8::/64"), Ok("2001:db8::/64".to_owned()));
        assert_eq!(read("203.0.113.1/28"), Err("has bits behind its prefix"));
        assert_eq!(read("203.0.113.0/33"), Err("is not a network"));
        assert_eq!(read("203.0.113.0/"), Err("is not a network"));
        assert_eq!(read("11.0.0.0/7"), Err("has bits behind its prefix"));
        assert_eq!(read("10.0.0.0/7"), Err("is too large a network"));
        assert_eq!(read("0.0.0.0/0"), Err("is the unspecified address"));
        assert_eq!(read("::8000:0:0/81"), Err("has IPv4 addresses written as IPv6"));
        assert_eq!(read("224.0.0.0/8"), Err("is a multicast address"));
    }

    #[test]
    fn a_vip_is_an_address_alone() {
        let hint = |text: &str| parse_host(text).map_err(|error| error.hint).unwrap_err();
        assert!(parse_host("203.0.113.10").is_ok());
        assert_eq!(hint("203.0.113.10/32"), "write the address without a prefix length");
        assert_eq!(hint("203.0.113.10:80"), "write the address alone; ports have a key of their own");
    }
}
