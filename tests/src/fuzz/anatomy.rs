//! Where the headers of a frame are: a reading of its own, which shares nothing with the pipeline.
//!
//! Role: mutations find fields by it, rules compare what went in with what came out. Imports `bytes`.
//! Always holds: an anatomy describes what headers claim; [`Anatomy::soundness`] says whether the claims are true.

use super::bytes::{array, byte, half};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Tags that are followed; frames with more have no network header here.
const TAGS_MOST: usize = 4;
/// Extension headers that are followed.
const EXTENSIONS_MOST: usize = 8;

/// Length of an Ethernet header, of a tag, and of the fixed parts of IP headers.
pub const ETHERNET: usize = 14;
pub const TAG: usize = 4;
pub const IPV4: usize = 20;
pub const IPV6: usize = 40;

/// `EtherType`s.
pub const TYPE_IPV4: u16 = 0x0800;
pub const TYPE_IPV6: u16 = 0x86dd;
pub const TYPES_OF_TAGS: [u16; 2] = [0x8100, 0x88a8];

/// IP protocol numbers.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const FRAGMENT: u8 = 44;
pub const ICMPV6: u8 = 58;
/// The routing header.
const ROUTING: u8 = 43;
/// Extension headers whose second byte is a length in units of eight: hop-by-hop, routing, destination options.
pub const OPTIONS: [u8; 3] = [0, 43, 60];

/// What a frame's headers claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anatomy {
    /// VLAN tags.
    pub tags: usize,
    /// Where the IP header begins.
    pub network: usize,
    /// Whether it is IPv4.
    pub v4: bool,
    /// Where the IP packet ends.
    pub end: usize,
    /// Where the upper layer begins.
    pub transport: usize,
    /// The upper layer's protocol number.
    pub protocol: u8,
    /// Whether the packet is a fragment, and its offset in bytes. One that is alone (RFC 6946) is none.
    pub fragment: Option<usize>,
    /// Where IPv6's (last) fragment header is.
    pub fragment_header: Option<usize>,
    /// Which datagram it is a fragment of.
    pub identification: u32,
    /// Whether a routing header names further stations.
    pub is_under_way: bool,
}

impl Anatomy {
    /// That of a frame; none if it has no whole IP header.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (tags, ether_type) = tags(frame)?;
        let network = ETHERNET + tags * TAG;
        match ether_type {
            TYPE_IPV4 => Self::of_ipv4(frame, tags, network),
            TYPE_IPV6 => Self::of_ipv6(frame, tags, network),
            _ => None,
        }
    }

    fn of_ipv4(frame: &[u8], tags: usize, network: usize) -> Option<Self> {
        let header: [u8; IPV4] = array(frame, network)?;
        let words = usize::from(header[0] & 0x0f);
        let fragment = half(&header, 6)? & 0x3fff;
        Some(Self {
            tags,
            network,
            v4: true,
            end: network + usize::from(half(&header, 2)?),
            transport: network + words.max(IPV4 / 4) * 4,
            protocol: header[9],
            fragment: (fragment != 0).then(|| usize::from(fragment & 0x1fff) * 8),
            fragment_header: None,
            identification: u32::from(half(&header, 4)?),
            is_under_way: false,
        })
    }

    fn of_ipv6(frame: &[u8], tags: usize, network: usize) -> Option<Self> {
        let header: [u8; IPV6] = array(frame, network)?;
        let mut anatomy = Self {
            tags,
            network,
            v4: false,
            end: network + IPV6 + usize::from(half(&header, 4)?),
            transport: network + IPV6,
            protocol: header[6],
            fragment: None,
            fragment_header: None,
            identification: 0,
            is_under_way: false,
        };
        for _ in 0..EXTENSIONS_MOST {
            if !anatomy.step_over_extension(frame) {
                break;
            }
        }
        Some(anatomy)
    }

    /// Goes on behind an extension header; false if there is none.
    fn step_over_extension(&mut self, frame: &[u8]) -> bool {
        let Some([next, length, high, low]) = array(frame, self.transport) else { return false };
        let length = match self.protocol {
            number if OPTIONS.contains(&number) => (usize::from(length) + 1) * 8,
            FRAGMENT => 8,
            _ => return false,
        };
        if self.protocol == FRAGMENT {
            let offset_more = u16::from_be_bytes([high, low]) & 0xfff9;
            self.fragment_header = Some(self.transport);
            self.identification = array(frame, self.transport + 4).map_or(0, u32::from_be_bytes);
            if offset_more != 0 {
                self.fragment = Some(usize::from(offset_more & 0xfff8));
            }
        }
        self.is_under_way |= self.protocol == ROUTING && low != 0;
        self.protocol = next;
        self.transport += length;
        // What follows in a later fragment is no header.
        self.fragment.is_none_or(|offset| offset == 0)
    }

    /// That of the same packet in a frame where it begins at `network`.
    #[must_use]
    pub const fn moved(self, network: usize) -> Self {
        let (end, transport) = (self.end - self.network + network, self.transport - self.network + network);
        Self { tags: (network - ETHERNET) / TAG, network, end, transport, fragment_header: None, ..self }
    }

    /// Whether the upper layer's header is in this packet: not so in later fragments.
    pub const fn has_transport(&self) -> bool {
        matches!(self.fragment, None | Some(0))
    }

    /// Offset of the source address, and of the destination's.
    pub const fn addresses(&self) -> (usize, usize) {
        if self.v4 { (self.network + 12, self.network + 16) } else { (self.network + 8, self.network + 24) }
    }

    /// Offset of TTL or hop limit.
    pub const fn ttl(&self) -> usize {
        self.network + if self.v4 { 8 } else { 7 }
    }

    /// Length of the IP packet.
    pub const fn length(&self) -> usize {
        self.end - self.network
    }

    /// An address of the packet's family at `at`.
    fn address(&self, frame: &[u8], at: usize) -> IpAddr {
        if self.v4 {
            IpAddr::V4(Ipv4Addr::from(array(frame, at).unwrap_or([0; 4])))
        } else {
            IpAddr::V6(Ipv6Addr::from(array(frame, at).unwrap_or([0; 16])))
        }
    }

    /// The source address.
    pub fn source(&self, frame: &[u8]) -> IpAddr {
        self.address(frame, self.addresses().0)
    }

    /// The destination address.
    pub fn destination(&self, frame: &[u8]) -> IpAddr {
        self.address(frame, self.addresses().1)
    }

    /// The source and destination port of TCP and UDP.
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        let has = self.has_transport() && matches!(self.protocol, TCP | UDP);
        has.then_some((half(frame, self.transport)?, half(frame, self.transport + 2)?))
    }

    /// Source, destination and protocol of a TCP or UDP flow.
    pub fn tuple(&self, frame: &[u8]) -> Option<(SocketAddr, SocketAddr, u8)> {
        let (source_port, destination_port) = self.ports(frame)?;
        let source = SocketAddr::new(self.source(frame), source_port);
        Some((source, SocketAddr::new(self.destination(frame), destination_port), self.protocol))
    }

    /// The class or type of service: DSCP and ECN.
    pub fn traffic_class(&self, frame: &[u8]) -> u8 {
        let [first, second] = array(frame, self.network).unwrap_or([0; 2]);
        if self.v4 { second } else { (first << 4) | (second >> 4) }
    }

    /// What is wrong with the headers of a packet that shall be forwarded: lengths that contradict each other, or bytes
    /// that are missing.
    pub fn soundness(&self, frame: &[u8]) -> Result<(), &'static str> {
        let first = byte(frame, self.network).unwrap_or_default();
        let version = if self.v4 { 4 } else { 6 };
        if first >> 4 != version {
            return Err("the IP version is not that of the EtherType");
        }
        if self.v4 && usize::from(first & 0x0f) * 4 < IPV4 {
            return Err("the IPv4 header is shorter than its fixed part");
        }
        if self.end > frame.len() {
            return Err("the IP packet ends behind the frame");
        }
        if self.transport > self.end {
            return Err("the IP headers end behind the IP packet");
        }
        if self.is_under_way {
            return Err("a routing header names further stations");
        }
        if self.v4 && self.protocol == TCP && self.fragment == Some(8) {
            return Err("the fragment overwrites a TCP header (RFC 1858)");
        }
        if self.has_transport() { self.transport_soundness(frame) } else { Ok(()) }
    }

    fn transport_soundness(&self, frame: &[u8]) -> Result<(), &'static str> {
        let room = self.end - self.transport;
        match self.protocol {
            TCP => {
                let words = byte(frame, self.transport + 12).unwrap_or_default() >> 4;
                let length = usize::from(words) * 4;
                if room < 20 || length < 20 || length > room {
                    return Err("the TCP header does not fit");
                }
            }
            UDP => {
                let length = usize::from(half(frame, self.transport + 4).unwrap_or_default());
                // The first of several fragments carries the length of all.
                if room < 8 || length < 8 || (length > room && self.fragment.is_none()) {
                    return Err("the UDP length does not fit");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Number of tags, and the type behind them.
fn tags(frame: &[u8]) -> Option<(usize, u16)> {
    let mut tags = 0;
    loop {
        let ether_type = half(frame, ETHERNET - 2 + tags * TAG)?;
        if !TYPES_OF_TAGS.contains(&ether_type) || tags == TAGS_MOST {
            return Some((tags, ether_type));
        }
        tags += 1;
    }
}
