//! Checksums computed in full by etherparse from a frame as it is.

use etherparse::{NetHeaders, PacketHeaders, PayloadSlice, TransportHeader};
use std::net::{IpAddr, SocketAddr};

/// What a frame says, with its checksums and what they have to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 header checksum as it is and as it has to be.
    pub header_checksum: Option<(u16, u16)>,
    /// Transport checksum as it is and as it has to be.
    pub transport_checksum: (u16, u16),
    /// What the transport carries.
    pub payload: Vec<u8>,
}

/// Reads a frame of TCP or UDP over IP.
pub fn read(frame: &[u8]) -> Reading {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("a sound frame");
    let (PayloadSlice::Tcp(payload) | PayloadSlice::Udp(payload)) = packet.payload else {
        panic!("neither TCP nor UDP: {:?}", packet.payload)
    };
    let transport = packet.transport.expect("a transport header");
    let (ports, checksum) = match &transport {
        TransportHeader::Tcp(header) => ((header.source_port, header.destination_port), header.checksum),
        TransportHeader::Udp(header) => ((header.source_port, header.destination_port), header.checksum),
        _ => panic!("neither TCP nor UDP"),
    };
    let (addresses, ttl, header_checksum, computed) = match packet.net.expect("an IP header") {
        NetHeaders::Ipv4(ip, _) => (
            (IpAddr::from(ip.source), IpAddr::from(ip.destination)),
            ip.time_to_live,
            Some((ip.header_checksum, ip.calc_header_checksum())),
            match &transport {
                TransportHeader::Tcp(header) => header.calc_checksum_ipv4(&ip, payload),
                TransportHeader::Udp(header) => header.calc_checksum_ipv4(&ip, payload),
                _ => panic!("neither TCP nor UDP"),
            },
        ),
        NetHeaders::Ipv6(ip, _) => (
            (IpAddr::from(ip.source), IpAddr::from(ip.destination)),
            ip.hop_limit,
            None,
            match &transport {
                TransportHeader::Tcp(header) => header.calc_checksum_ipv6(&ip, payload),
                TransportHeader::Udp(header) => header.calc_checksum_ipv6(&ip, payload),
                _ => panic!("neither TCP nor UDP"),
            },
        ),
        NetHeaders::Arp(_) => panic!("ARP"),
    };
    Reading {
        source: SocketAddr::new(addresses.0, ports.0),
        destination: SocketAddr::new(addresses.1, ports.1),
        ttl,
        header_checksum,
        transport_checksum: (checksum, computed.expect("fits the length field")),
        payload: payload.to_vec(),
    }
}

impl Reading {
    /// Whether every checksum is right; a UDP checksum that was not made must still be 0.
    pub fn is_sound(&self, udp_without_checksum: bool) -> bool {
        let header = self.header_checksum.is_none_or(|(is, must)| is == must);
        let (is, must) = self.transport_checksum;
        header && if udp_without_checksum { is == 0 } else { is == must }
    }
}
