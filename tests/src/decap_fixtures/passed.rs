//! What is none of the decapsulator's business.

use super::Fixture;
use super::build::{Carrier, Envelope, Family, inner_tcp};
use etherparse::{EtherType, IpNumber};
use lb_common::decap::DecapReason;
use std::net::IpAddr;

pub fn fixtures() -> Vec<Fixture> {
    [other_types(), other_protocols(), other_destinations(), fragments(), malformed()].concat()
}

fn other_types() -> Vec<Fixture> {
    let plain = Envelope::new(Family::V4, Carrier::Ip);
    let mut fixtures = Vec::new();
    for (what, ether_type) in [("ARP", 0x0806), ("LLDP", 0x88cc), ("MPLS", 0x8847), ("an 802.3 length", 46)] {
        let mut frame = plain.link(EtherType(ether_type));
        frame.extend([0x45; 46]);
        fixtures.push(Fixture::left_alone(what, frame, DecapReason::NotIp));
    }
    let tag = (EtherType::VLAN_TAGGED_FRAME, 5);
    for count in 1..=2 {
        let tagged = Envelope { tags: vec![tag; count], ..plain.clone() };
        let mut frame = tagged.link(EtherType::ARP);
        frame.extend([0; 28]);
        fixtures.push(Fixture::left_alone(format!("ARP behind {count} tags"), frame, DecapReason::NotIp));
    }
    let three = Envelope { tags: vec![tag; 3], ..plain };
    let frame = three.around(&inner_tcp(Family::V4));
    fixtures.push(Fixture::left_alone("a tunnel behind three tags", frame, DecapReason::NotIp));
    fixtures
}

fn other_protocols() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for outer in Family::BOTH {
        let plain = Envelope::new(outer, Carrier::Ip);
        for (what, number) in [
            ("TCP", IpNumber::TCP),
            ("ICMP", IpNumber::ICMP),
            ("ICMPv6", IpNumber::IPV6_ICMP),
            ("GRE", IpNumber::GRE),
            ("ESP", IpNumber::ENCAPSULATING_SECURITY_PAYLOAD),
            ("hop-by-hop options", IpNumber::IPV6_HEADER_HOP_BY_HOP),
            ("a routing header", IpNumber::IPV6_ROUTE_HEADER),
            ("destination options", IpNumber::IPV6_DESTINATION_OPTIONS),
        ] {
            let frame = plain.with_payload(number, &inner_tcp(Family::V4));
            let name = format!("{what} over {} to a tunnel address", outer.name());
            fixtures.push(Fixture::left_alone(name, frame, DecapReason::OtherProtocol));
        }
        for port in [53, 6_079, 6_081, 49_321] {
            let other = Envelope { port, ..Envelope::new(outer, Carrier::Gue) };
            let name = format!("UDP over {} to port {port}", outer.name());
            let frame = other.around(&inner_tcp(Family::V4));
            fixtures.push(Fixture::left_alone(name, frame, DecapReason::OtherProtocol));
        }
    }
    fixtures
}

fn other_destinations() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for text in ["10.0.0.12", "203.0.113.10", "224.0.0.1", "2001:db8:3::12", "2001:db8::10", "ff02::1"] {
        let destination: IpAddr = text.parse().expect("an address");
        let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
        for carrier in Carrier::ACCEPTED {
            let envelope = Envelope { destination, ..Envelope::new(family, carrier) };
            let frame = envelope.around(&inner_tcp(Family::V4));
            let name = format!("{} to {text}, where no tunnel ends", envelope.carrier.name());
            fixtures.push(Fixture::left_alone(name, frame.clone(), DecapReason::OtherDestination));
        }
    }
    fixtures
}

/// The frame with a right checksum in its outer IPv4 header of 20 bytes.
fn resummed(mut frame: Vec<u8>) -> Vec<u8> {
    let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("a header");
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    frame
}

fn fragments() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for carrier in Carrier::ACCEPTED {
        let envelope = Envelope::new(Family::V4, carrier.clone());
        for (what, bits) in [("the first", [0x20, 0]), ("a middle", [0x20, 10]), ("the last", [0, 10])] {
            let mut frame = envelope.around(&inner_tcp(Family::V4));
            frame[20..22].copy_from_slice(&bits);
            let name = format!("{what} fragment of an outer packet with {}", carrier.name());
            fixtures.push(Fixture::left_alone(name, resummed(frame), DecapReason::Fragment));
        }
        let envelope = Envelope::new(Family::V6, carrier.clone());
        let payload = [&[4, 0, 0, 1, 1, 2, 3, 4], inner_tcp(Family::V4).as_slice()].concat();
        let frame = envelope.with_payload(IpNumber::IPV6_FRAGMENTATION_HEADER, &payload);
        let name = format!("a fragment of an outer IPv6 packet, {}", carrier.name());
        fixtures.push(Fixture::left_alone(name, frame, DecapReason::Fragment));
    }
    fixtures
}

/// What is done to a frame.
type Damage = fn(&mut Vec<u8>);

fn malformed() -> Vec<Fixture> {
    let v4: [(&str, bool, Damage); 6] = [
        ("the outer checksum is wrong", false, |frame| frame[24] ^= 1),
        ("an outer source that the checksum does not cover", false, |frame| frame[26] ^= 1),
        ("an outer header length of 16", false, |frame| frame[14] = 0x44),
        ("an outer version of 6 in an IPv4 frame", false, |frame| frame[14] = 0x65),
        ("an outer length beyond the frame", true, |frame| frame[16..18].fill(0xff)),
        ("an outer length below the header's", true, |frame| frame[16..18].copy_from_slice(&[0, 19])),
    ];
    let v6: [(&str, bool, Damage); 4] = [
        ("an outer version of 4 in an IPv6 frame", false, |frame| frame[14] = 0x45),
        ("an outer length beyond the frame", false, |frame| frame[18..20].fill(0xff)),
        ("a v4-mapped source", false, |frame| {
            frame[22..34].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }),
        ("a v4-mapped tunnel address", false, |frame| {
            frame[38..54].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 11]);
        }),
    ];
    let cases = v4.map(|case| (Family::V4, case)).into_iter().chain(v6.map(|case| (Family::V6, case)));
    let mut fixtures = Vec::new();
    for (outer, (what, sum_again, damage)) in cases {
        for carrier in Carrier::ACCEPTED {
            let envelope = Envelope::new(outer, carrier);
            let mut frame = envelope.around(&inner_tcp(Family::V4));
            damage(&mut frame);
            let frame = if sum_again { resummed(frame) } else { frame };
            let name = format!("{} over {}: {what}", envelope.carrier.name(), outer.name());
            fixtures.push(Fixture::left_alone(name, frame, DecapReason::Malformed));
        }
    }
    let options = Envelope { options: 8, ..Envelope::new(Family::V4, Carrier::Ip) };
    let mut frame = options.around(&inner_tcp(Family::V4));
    frame[36] ^= 0x10;
    fixtures.push(Fixture::left_alone(
        "an option that the checksum does not cover",
        frame,
        DecapReason::Malformed,
    ));
    for outer in Family::BOTH {
        for (what, length) in [("0", 0_u16), ("7", 7), ("one too many", u16::MAX)] {
            let envelope = Envelope::new(outer, Carrier::Gue);
            let mut frame = envelope.around(&inner_tcp(Family::V4));
            let at = 14 + outer.header_len() + 4;
            let payload = u16::try_from(frame.len() - 14 - outer.header_len()).expect("a short frame");
            let length = if length == u16::MAX { payload + 1 } else { length };
            frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
            let name = format!("a UDP length of {what} over {}", outer.name());
            fixtures.push(Fixture::left_alone(name, frame, DecapReason::Malformed));
        }
        let whole = Envelope::new(outer, Carrier::Gue).around(&inner_tcp(Family::V6));
        for cut in [0, 13, 14, 33, 53, 61, whole.len() - 1] {
            let name = format!("a frame over {} that ends after {cut} bytes", outer.name());
            fixtures.push(Fixture::left_alone(name, whole[..cut].to_vec(), DecapReason::Malformed));
        }
    }
    fixtures
}
