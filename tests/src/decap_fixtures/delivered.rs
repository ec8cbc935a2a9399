//! Packets that leave their tunnels.

use super::Fixture;
use super::build::{Carrier, Envelope, Family, UdpSum, inner_shape, inner_tcp, inner_with_ecn, packet_of};
use crate::fixtures::{Network, Protocol, Shape};
use etherparse::{EtherType, IpFragOffset, IpNumber, Ipv4Options};
use lb_common::decap::DecapReason;

/// The reason for a combination.
fn reason(carrier: &Carrier, outer: Family, inner: Family) -> DecapReason {
    match (carrier, outer, inner) {
        (Carrier::Ip, Family::V4, Family::V4) => DecapReason::Ipv4InIpv4,
        (Carrier::Ip, Family::V4, Family::V6) => DecapReason::Ipv6InIpv4,
        (Carrier::Ip, Family::V6, Family::V4) => DecapReason::Ipv4InIpv6,
        (Carrier::Ip, Family::V6, Family::V6) => DecapReason::Ipv6InIpv6,
        (_, Family::V4, Family::V4) => DecapReason::Ipv4InGueIpv4,
        (_, Family::V4, Family::V6) => DecapReason::Ipv6InGueIpv4,
        (_, Family::V6, Family::V4) => DecapReason::Ipv4InGueIpv6,
        (_, Family::V6, Family::V6) => DecapReason::Ipv6InGueIpv6,
    }
}

/// Every combination of outer family, carrier and inner family.
fn combinations() -> impl Iterator<Item = (Family, Carrier, Family)> {
    Family::BOTH.into_iter().flat_map(|outer| {
        Carrier::ACCEPTED.into_iter().flat_map(move |carrier| {
            Family::BOTH.into_iter().map(move |inner| (outer, carrier.clone(), inner))
        })
    })
}

fn delivered(what: &str, envelope: &Envelope, inner: &[u8]) -> Fixture {
    let family = if inner[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
    let name =
        format!("{} in {} over {}: {what}", family.name(), envelope.carrier.name(), envelope.family().name());
    let reason = reason(&envelope.carrier, envelope.family(), family);
    Fixture::changed(name, envelope.around(inner), reason, envelope.without_outer(inner))
}

pub fn fixtures() -> Vec<Fixture> {
    [tags(), outers(), inners(), ecn(), vips(), udp(), sources()].concat()
}

fn tags() -> Vec<Fixture> {
    let cases: [(&str, &[(EtherType, u16)]); 5] = [
        ("no tag", &[]),
        ("an 802.1Q tag", &[(EtherType::VLAN_TAGGED_FRAME, 5)]),
        ("an 802.1ad tag", &[(EtherType::PROVIDER_BRIDGING, 4094)]),
        (
            "two tags, 802.1ad outside",
            &[(EtherType::PROVIDER_BRIDGING, 100), (EtherType::VLAN_TAGGED_FRAME, 7)],
        ),
        ("two 802.1Q tags", &[(EtherType::VLAN_TAGGED_FRAME, 1), (EtherType::VLAN_TAGGED_FRAME, 2)]),
    ];
    let mut fixtures = Vec::new();
    for (outer, carrier, inner) in combinations() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (what, tags) in cases {
                let envelope = Envelope { tags: tags.to_vec(), ..Envelope::new(outer, carrier.clone()) };
                let inner = packet_of(&inner_shape(protocol, inner.vip()));
                fixtures.push(delivered(&format!("{protocol:?} with {what}"), &envelope, &inner));
            }
        }
    }
    fixtures
}

/// What the outer header may have.
fn outers() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for (outer, carrier, inner) in combinations() {
        let inner = inner_tcp(inner);
        let plain = || Envelope::new(outer, carrier.clone());
        let mut add = |what: &str, envelope: Envelope| fixtures.push(delivered(what, &envelope, &inner));
        add("the outer TTL does not matter", Envelope { ttl: 1, ..plain() });
        add("the outer DSCP stays outside", Envelope { dscp: 46, ..plain() });
        add("bytes behind the outer packet stay", Envelope { padding: vec![0xee; 9], ..plain() });
        if outer == Family::V4 {
            for options in [4, 20, 40] {
                add(&format!("{options} bytes of outer options go too"), Envelope { options, ..plain() });
            }
            let tags = vec![(EtherType::PROVIDER_BRIDGING, 100), (EtherType::VLAN_TAGGED_FRAME, 7)];
            add("two tags and all options", Envelope { options: 40, tags, ..plain() });
        }
    }
    fixtures
}

/// What the inner packet may be.
fn inners() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for (outer, carrier, inner) in combinations() {
        let envelope = Envelope::new(outer, carrier);
        let shape = || inner_shape(Protocol::Tcp, inner.vip());
        let mut add =
            |what: &str, shape: Shape| fixtures.push(delivered(what, &envelope, &packet_of(&shape)));
        add("no payload", shape().payload(&[]));
        add("1,500 bytes", shape().of_length(1_500));
        add("8,900 bytes, which come in pieces", shape().of_length(8_900));
        add("the inner TTL stays, even 1", shape().ttl(1));
        let client = if inner == Family::V4 { "198.51.100.7" } else { "2001:db8:1::7" };
        let icmp = if inner == Family::V4 { IpNumber::ICMP } else { IpNumber::IPV6_ICMP };
        let client = client.parse().expect("an address");
        add("an ICMP packet", Shape::other(icmp, client, inner.vip(), &[8, 0, 1, 2, 3, 4, 5, 6]));
        add("a header and nothing else", Shape::other(IpNumber(253), client, inner.vip(), &[]));
        if inner == Family::V4 {
            let with = |change: fn(&mut etherparse::Ipv4Header)| {
                let mut shape = shape();
                if let Network::V4(header) = &mut shape.network {
                    change(header);
                }
                shape
            };
            add("options of its own", with(|header| header.options = Ipv4Options::from([1; 40])));
            add("the first fragment", with(|header| header.more_fragments = true));
            add(
                "a later fragment",
                with(|header| header.fragment_offset = IpFragOffset::try_new(100).expect("13 bits")),
            );
        }
    }
    fixtures
}

/// The table of RFC 6040, section 4.2, as the RFC prints it; codepoints by their bits.
fn ecn() -> Vec<Fixture> {
    const NOT_ECT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    // Inner, outer, what leaves; none: dropped.
    let table = [
        (NOT_ECT, NOT_ECT, Some(NOT_ECT)),
        (NOT_ECT, ECT_0, Some(NOT_ECT)),
        (NOT_ECT, ECT_1, Some(NOT_ECT)),
        (NOT_ECT, CE, None),
        (ECT_0, NOT_ECT, Some(ECT_0)),
        (ECT_0, ECT_0, Some(ECT_0)),
        (ECT_0, ECT_1, Some(ECT_1)),
        (ECT_0, CE, Some(CE)),
        (ECT_1, NOT_ECT, Some(ECT_1)),
        (ECT_1, ECT_0, Some(ECT_1)),
        (ECT_1, ECT_1, Some(ECT_1)),
        (ECT_1, CE, Some(CE)),
        (CE, NOT_ECT, Some(CE)),
        (CE, ECT_0, Some(CE)),
        (CE, ECT_1, Some(CE)),
        (CE, CE, Some(CE)),
    ];
    let mut fixtures = Vec::new();
    for (outer, carrier, family) in combinations() {
        for (inner, ecn, leaves) in table {
            let tags = vec![(EtherType::VLAN_TAGGED_FRAME, 5)];
            let envelope = Envelope { tags, ecn, ..Envelope::new(outer, carrier.clone()) };
            let name = format!(
                "{} in {} over {}: inner ECN {inner:02b}, outer {ecn:02b}",
                family.name(),
                carrier.name(),
                outer.name()
            );
            let packet = envelope.around(&inner_with_ecn(family, inner));
            fixtures.push(match leaves {
                Some(leaves) => Fixture::changed(
                    name,
                    packet,
                    reason(&carrier, outer, family),
                    envelope.without_outer(&inner_with_ecn(family, leaves)),
                ),
                None => Fixture::left_alone(name, packet, DecapReason::EcnViolation),
            });
        }
    }
    fixtures
}

/// VIPs that are prefixes, at their edges.
fn vips() -> Vec<Fixture> {
    let inside = ["203.0.114.0", "203.0.114.15", "2001:db8:77::", "2001:db8:77:ffff:ffff:ffff:ffff:ffff"];
    let outside = [
        "203.0.113.9",
        "203.0.113.11",
        "203.0.113.255",
        "203.0.114.16",
        "2001:db8::11",
        "2001:db8:76:ffff:ffff:ffff:ffff:ffff",
        "2001:db8:78::",
        "::ffff:203.0.113.10",
        "::ffff:203.0.114.3",
        "::203.0.113.10",
        "10.0.0.11",
        "2001:db8:3::11",
        "127.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
    ];
    let mut fixtures = Vec::new();
    for (outer, carrier) in [(Family::V4, Carrier::Ip), (Family::V6, Carrier::Gue)] {
        let envelope = Envelope::new(outer, carrier);
        for text in inside {
            let inner = packet_of(&inner_shape(Protocol::Tcp, text.parse().expect("an address")));
            fixtures.push(delivered(&format!("to {text}, in a VIP prefix"), &envelope, &inner));
        }
        for text in outside {
            let inner = packet_of(&inner_shape(Protocol::Tcp, text.parse().expect("an address")));
            let name =
                format!("to {text}, which is no VIP, in {} over {}", envelope.carrier.name(), outer.name());
            fixtures.push(Fixture::left_alone(name, envelope.around(&inner), DecapReason::NotVip));
        }
    }
    fixtures
}

/// The UDP header of GUE.
fn udp() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for (outer, carrier, inner) in combinations().filter(|(_, carrier, _)| *carrier != Carrier::Ip) {
        let inner = inner_tcp(inner);
        let plain = || Envelope::new(outer, carrier.clone());
        let mut add = |what: &str, envelope: Envelope| fixtures.push(delivered(what, &envelope, &inner));
        add("no UDP checksum", Envelope { udp_sum: UdpSum::None, ..plain() });
        add("a UDP checksum is not looked at", Envelope { udp_sum: UdpSum::Wrong, ..plain() });
        add("bytes behind the datagram stay", Envelope { surplus: vec![0xdd; 6], ..plain() });
    }
    fixtures
}

/// Where tunnels may start.
fn sources() -> Vec<Fixture> {
    let cases = [
        ("10.0.0.2", true),
        ("10.0.0.3", false),
        ("10.9.255.255", true),
        ("10.10.0.0", false),
        ("2001:db8:3::2", true),
        ("2001:db8:3::1:2", false),
    ];
    let mut fixtures = Vec::new();
    for (text, accepted) in cases {
        let source: std::net::IpAddr = text.parse().expect("an address");
        let family = if source.is_ipv4() { Family::V4 } else { Family::V6 };
        for carrier in Carrier::ACCEPTED {
            let envelope = Envelope { source, ..Envelope::new(family, carrier) };
            let inner = inner_tcp(Family::V4);
            let fixture = if accepted {
                delivered(&format!("from {text}, where tunnels may start"), &envelope, &inner)
            } else {
                let name = format!("{} from {text}, where no tunnel may start", envelope.carrier.name());
                Fixture::left_alone(name, envelope.around(&inner), DecapReason::SourceRefused)
            };
            fixtures.push(fixture.restricted());
        }
    }
    fixtures
}
