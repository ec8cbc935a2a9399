//! Tunnels to this machine with something inside that is not taken.

use super::Fixture;
use super::build::{Carrier, Envelope, Family, inner_tcp};
use etherparse::IpNumber;
use lb_common::decap::DecapReason;

pub fn fixtures() -> Vec<Fixture> {
    [versions(), lengths(), gue(), nothing_inside()].concat()
}

/// A sentence's end: which tunnel.
fn within(envelope: &Envelope) -> String {
    format!("in {} over {}", envelope.carrier.name(), envelope.family().name())
}

/// Inner packets of another version than what the tunnel says.
fn versions() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for outer in Family::BOTH {
        for carrier in [Carrier::Ip, Carrier::Gue] {
            for (inner, other) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
                let envelope =
                    Envelope { protocol: Some(other.number()), ..Envelope::new(outer, carrier.clone()) };
                let name = format!("{} announced as {} {}", inner.name(), other.name(), within(&envelope));
                let packet = envelope.around(&inner_tcp(inner));
                fixtures.push(Fixture::left_alone(name, packet, DecapReason::InnerVersion));
            }
            for version in [0, 1, 5, 7, 15] {
                let envelope =
                    Envelope { protocol: Some(IpNumber::IPV4), ..Envelope::new(outer, carrier.clone()) };
                let mut inner = inner_tcp(Family::V4);
                inner[0] = version << 4 | 5;
                let name = format!("an inner packet of version {version} {}", within(&envelope));
                fixtures.push(Fixture::left_alone(name, envelope.around(&inner), DecapReason::InnerVersion));
            }
        }
    }
    fixtures
}

/// What is done to the bytes of an inner packet.
type Damage = fn(&mut Vec<u8>);

/// Inner packets that are not as long as they say, or not as long as what the tunnel carries.
fn lengths() -> Vec<Fixture> {
    let v4: [(&str, Damage); 7] = [
        ("a byte is missing", |inner| inner.truncate(inner.len() - 1)),
        ("a byte too many", |inner| inner.push(0)),
        ("a length of 0", |inner| inner[2..4].fill(0)),
        ("a length of 65,535", |inner| inner[2..4].fill(0xff)),
        ("a header length of 16", |inner| inner[0] = 0x44),
        ("a header longer than the packet", |inner| {
            inner.truncate(20);
            inner[0] = 0x46;
            inner[2..4].copy_from_slice(&[0, 20]);
        }),
        ("half a header", |inner| inner.truncate(10)),
    ];
    let v6: [(&str, Damage); 5] = [
        ("a byte is missing", |inner| inner.truncate(inner.len() - 1)),
        ("a byte too many", |inner| inner.push(0)),
        ("a payload length of 0", |inner| inner[4..6].fill(0)),
        ("a payload length of 65,535", |inner| inner[4..6].fill(0xff)),
        ("half a header", |inner| inner.truncate(20)),
    ];
    let cases = v4.map(|case| (Family::V4, case)).into_iter().chain(v6.map(|case| (Family::V6, case)));
    let mut fixtures = Vec::new();
    for (family, (what, damage)) in cases {
        for outer in Family::BOTH {
            for carrier in Carrier::ACCEPTED {
                let envelope = Envelope::new(outer, carrier);
                let mut inner = inner_tcp(family);
                damage(&mut inner);
                let name = format!("inner {} {}: {what}", family.name(), within(&envelope));
                fixtures.push(Fixture::left_alone(name, envelope.around(&inner), DecapReason::InnerLength));
            }
        }
    }
    fixtures
}

/// GUE headers that are not known.
fn gue() -> Vec<Fixture> {
    let headers: [(&str, &[u8]); 11] = [
        ("a control message", &[0x20, 4, 0, 0]),
        ("optional fields of a word", &[0x01, 4, 0, 0, 0, 0, 0, 0]),
        ("the longest optional fields", &[0x1f, 4, 0, 0]),
        ("a flag", &[0, 4, 0x80, 0]),
        ("the last flag", &[0, 4, 0, 1]),
        ("TCP inside", &[0, 6, 0, 0]),
        ("no next header inside", &[0, 59, 0, 0]),
        ("variant 2", &[0x80, 4, 0, 0]),
        ("variant 3", &[0xc0, 4, 0, 0]),
        ("variant 1 with version 5", &[0x55, 0, 0, 0]),
        ("variant 1 with version 7", &[0x70, 0, 0, 0]),
    ];
    let mut fixtures = Vec::new();
    for outer in Family::BOTH {
        for (what, header) in headers {
            let envelope = Envelope::new(outer, Carrier::GueWith(header.to_vec()));
            let name = format!("GUE over {} with {what}", outer.name());
            let packet = envelope.around(&inner_tcp(Family::V4));
            fixtures.push(Fixture::left_alone(name, packet, DecapReason::GueUnsupported));
        }
        for length in 0..4 {
            let envelope = Envelope::new(outer, Carrier::GueWith(vec![0; length]));
            let name = format!("GUE over {} of {length} bytes", outer.name());
            fixtures.push(Fixture::left_alone(name, envelope.around(&[]), DecapReason::GueUnsupported));
        }
    }
    fixtures
}

/// Tunnels that carry nothing.
fn nothing_inside() -> Vec<Fixture> {
    let mut fixtures = Vec::new();
    for outer in Family::BOTH {
        for inner in Family::BOTH {
            for carrier in [Carrier::Ip, Carrier::Gue] {
                let envelope = Envelope { protocol: Some(inner.number()), ..Envelope::new(outer, carrier) };
                let name = format!("no {} packet at all {}", inner.name(), within(&envelope));
                fixtures.push(Fixture::left_alone(name, envelope.around(&[]), DecapReason::InnerLength));
            }
        }
    }
    fixtures
}
