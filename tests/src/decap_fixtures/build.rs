//! Frames in envelopes: link layer with tags, outer header, tunnel, inner packet. etherparse turns headers into bytes.

use crate::fixtures::{Network, Protocol, Shape};
use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header,
    SingleVlanHeader, UdpHeader, VlanId, VlanPcp,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The load balancer's address, where IPv4 tunnels start.
pub const OUTER_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The load balancer's address, where IPv6 tunnels start.
pub const OUTER_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2);

/// MAC of the load balancer.
const SOURCE_MAC: [u8; 6] = [0x02, 0x0d, 0xe0, 0, 0, 0x10];
/// MAC of the backend.
const DESTINATION_MAC: [u8; 6] = [0x02, 0xbe, 0, 0, 0, 0x0b];

/// UDP port of GUE.
const GUE_PORT: u16 = 6_080;
/// UDP port that the load balancer sends from.
const GUE_SOURCE_PORT: u16 = 49_321;

/// Client and port of inner packets.
const CLIENT_PORT: u16 = 40_123;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As sentences name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Its number as the protocol of an outer header.
    pub const fn number(self) -> IpNumber {
        match self {
            Self::V4 => IpNumber::IPV4,
            Self::V6 => IpNumber::IPV6,
        }
    }

    /// The VIP that most inner packets are for.
    pub fn vip(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, 10).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10).into(),
        }
    }

    /// Shortest header of the family.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    fn ether_type(self) -> EtherType {
        match self {
            Self::V4 => EtherType::IPV4,
            Self::V6 => EtherType::IPV6,
        }
    }
}

/// What lies between the outer header and the inner packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nothing: IP in IP.
    Ip,
    /// UDP and the 4 bytes of GUE's variant 0.
    Gue,
    /// UDP only: GUE's variant 1.
    GueDirect,
    /// UDP and these bytes.
    GueWith(Vec<u8>),
}

impl Carrier {
    /// Those that are accepted.
    pub const ACCEPTED: [Self; 3] = [Self::Ip, Self::Gue, Self::GueDirect];

    /// As sentences name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ip => "IP",
            Self::Gue => "GUE",
            Self::GueDirect => "GUE without header",
            Self::GueWith(_) => "GUE with something else",
        }
    }
}

/// How the UDP checksum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpSum {
    /// As it has to be.
    Right,
    /// 0: none was made.
    None,
    /// Wrong.
    Wrong,
}

/// A frame around an inner packet.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// VLAN tags from the outermost on: type and VLAN id.
    pub tags: Vec<(EtherType, u16)>,
    /// Source of the outer header.
    pub source: IpAddr,
    /// Destination of the outer header.
    pub destination: IpAddr,
    /// What lies between.
    pub carrier: Carrier,
    /// Protocol that the outer header, or GUE's, says; the inner packet's unless set.
    pub protocol: Option<IpNumber>,
    /// ECN field of the outer header.
    pub ecn: u8,
    /// DSCP of the outer header.
    pub dscp: u8,
    /// Bytes of options in an outer IPv4 header.
    pub options: usize,
    /// TTL or hop limit of the outer header.
    pub ttl: u8,
    /// The UDP checksum.
    pub udp_sum: UdpSum,
    /// The UDP port.
    pub port: u16,
    /// Bytes in the outer packet behind the UDP datagram.
    pub surplus: Vec<u8>,
    /// Bytes behind the outer packet.
    pub padding: Vec<u8>,
}

impl Envelope {
    /// A tunnel from the load balancer to the backend.
    pub fn new(family: Family, carrier: Carrier) -> Self {
        let (source, destination): (IpAddr, IpAddr) = match family {
            Family::V4 => (OUTER_SOURCE_V4.into(), Ipv4Addr::new(10, 0, 0, 11).into()),
            Family::V6 => (OUTER_SOURCE_V6.into(), Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 0x11).into()),
        };
        Self {
            tags: Vec::new(),
            source,
            destination,
            carrier,
            protocol: None,
            ecn: 0,
            dscp: 0,
            options: 0,
            ttl: 64,
            udp_sum: UdpSum::Right,
            port: GUE_PORT,
            surplus: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// The outer family.
    pub fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Length of the link layer's header.
    pub fn link_len(&self) -> usize {
        Ethernet2Header::LEN + self.tags.len() * SingleVlanHeader::LEN
    }

    /// The frame around `inner`.
    pub fn around(&self, inner: &[u8]) -> Vec<u8> {
        let is_v4 = inner.first().is_none_or(|first| first >> 4 == 4);
        let inner_number = if is_v4 { IpNumber::IPV4 } else { IpNumber::IPV6 };
        let announced = self.protocol.unwrap_or(inner_number);
        let (number, mut payload) = match &self.carrier {
            Carrier::Ip => (announced, inner.to_vec()),
            Carrier::Gue => (IpNumber::UDP, self.datagram(&[&[0, announced.0, 0, 0], inner].concat())),
            Carrier::GueDirect => (IpNumber::UDP, self.datagram(inner)),
            Carrier::GueWith(header) => (IpNumber::UDP, self.datagram(&[header.as_slice(), inner].concat())),
        };
        payload.extend(&self.surplus);
        let mut frame = self.link(self.family().ether_type());
        frame.extend(self.outer(number, payload.len()));
        frame.extend(payload);
        frame.extend(&self.padding);
        frame
    }

    /// The frame that has to come out for `inner`: the same link layer, no outer header.
    pub fn without_outer(&self, inner: &[u8]) -> Vec<u8> {
        let is_v4 = inner.first().is_some_and(|first| first >> 4 == 4);
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        let mut frame = self.link(family.ether_type());
        frame.extend(inner);
        frame.extend(&self.surplus);
        frame.extend(&self.padding);
        frame
    }

    /// The frame with any payload of the outer packet.
    pub fn with_payload(&self, number: IpNumber, payload: &[u8]) -> Vec<u8> {
        let mut frame = self.link(self.family().ether_type());
        frame.extend(self.outer(number, payload.len()));
        frame.extend(payload);
        frame.extend(&self.padding);
        frame
    }

    /// Ethernet and tags in front of a packet of that type.
    ///
    /// # Panics
    /// When a VLAN id has more than twelve bits.
    pub fn link(&self, last: EtherType) -> Vec<u8> {
        let types: Vec<EtherType> = self.tags.iter().map(|(kind, _)| *kind).chain([last]).collect();
        let ethernet =
            Ethernet2Header { source: SOURCE_MAC, destination: DESTINATION_MAC, ether_type: types[0] };
        let mut bytes = ethernet.to_bytes().to_vec();
        for ((_, id), next) in self.tags.iter().zip(&types[1..]) {
            let tag = SingleVlanHeader {
                pcp: VlanPcp::try_new(5).expect("three bits"),
                drop_eligible_indicator: true,
                vlan_id: VlanId::try_new(*id).expect("twelve bits"),
                ether_type: *next,
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    fn outer(&self, number: IpNumber, payload_len: usize) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options: Vec<u8> = std::iter::repeat_n(1, self.options).collect();
                let mut header = Ipv4Header {
                    dscp: IpDscp::try_new(self.dscp).expect("six bits"),
                    ecn: IpEcn::try_new(self.ecn).expect("two bits"),
                    time_to_live: self.ttl,
                    protocol: number,
                    source: source.octets(),
                    destination: destination.octets(),
                    dont_fragment: true,
                    options: Ipv4Options::try_from(options.as_slice()).expect("whole words"),
                    ..Ipv4Header::default()
                };
                header.set_payload_len(payload_len).expect("fits the length field");
                header.header_checksum = header.calc_header_checksum();
                header.to_bytes().to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut header = Ipv6Header {
                    traffic_class: self.dscp << 2 | self.ecn,
                    flow_label: Ipv6FlowLabel::try_new(0xa_bcde).expect("twenty bits"),
                    next_header: number,
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                header.set_payload_length(payload_len).expect("fits the length field");
                header.to_bytes().to_vec()
            }
            _ => panic!("{} and {} are of two families", self.source, self.destination),
        }
    }

    fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        let header = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = Ipv4Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv4Header::default()
                };
                UdpHeader::with_ipv4_checksum(GUE_SOURCE_PORT, self.port, &ip, payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = Ipv6Header {
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                UdpHeader::with_ipv6_checksum(GUE_SOURCE_PORT, self.port, &ip, payload)
            }
            _ => panic!("{} and {} are of two families", self.source, self.destination),
        };
        let mut header = header.expect("fits the length field");
        match self.udp_sum {
            UdpSum::Right => {}
            UdpSum::None => header.checksum = 0,
            UdpSum::Wrong => header.checksum ^= 0x5555,
        }
        [header.to_bytes().as_slice(), payload].concat()
    }
}

/// The inner packet of a client to a VIP, as headers.
pub fn inner_shape(protocol: Protocol, vip: IpAddr) -> Shape {
    let client: IpAddr = match vip {
        IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, 7).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7).into(),
    };
    Shape::new(protocol, SocketAddr::new(client, CLIENT_PORT), SocketAddr::new(vip, 80))
}

/// The bytes of an inner packet.
pub fn packet_of(shape: &Shape) -> Vec<u8> {
    shape.bytes()[Ethernet2Header::LEN..].to_vec()
}

/// A client's TCP segment to the VIP of a family.
pub fn inner_tcp(family: Family) -> Vec<u8> {
    packet_of(&inner_shape(Protocol::Tcp, family.vip()))
}

/// A client's datagram to any address and port.
pub fn inner_udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    packet_of(&Shape::new(Protocol::Udp, source, destination).payload(payload))
}

/// A client's TCP segment to the VIP of a family, with this ECN field.
pub fn inner_with_ecn(family: Family, ecn: u8) -> Vec<u8> {
    let mut shape = inner_shape(Protocol::Tcp, family.vip());
    match &mut shape.network {
        Network::V4(header) => {
            header.dscp = IpDscp::try_new(0x2a).expect("six bits");
            header.ecn = IpEcn::try_new(ecn).expect("two bits");
        }
        Network::V6(header) => header.traffic_class = 0x2a << 2 | ecn,
    }
    packet_of(&shape)
}
