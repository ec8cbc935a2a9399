//! What direct server return makes of a packet: the same IP packet, in another frame or behind an outer header.

use super::{Judgement, Passage, Rules};
use crate::fuzz::anatomy::{IPV4, IPV6, TYPE_IPV4, TYPE_IPV6};
use crate::fuzz::bytes::{length, put, put_half};
use crate::fuzz::epoch::difference;
use crate::fuzz::sums::sum;
use lb_common::abi::{Backend, ForwardMode, ip_address};
use std::net::IpAddr;

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;
/// Protocol numbers of IPv4 and IPv6 in IP (RFC 2003, RFC 2473).
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;

/// `dsr-l2`: nothing but the MACs.
pub fn same_packet(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    rules.explained_by_a_backend(passage, ForwardMode::DsrL2, |backend| {
        same(passage.output.get(12..), passage.input.get(12..))?;
        rules.hop_to_backend(backend)?.took(passage, ifindex)
    })
}

/// `dsr-ipip`: the packet as it came, behind an outer header that is computed here in full.
pub fn in_ip(rules: &Rules, passage: &Passage<'_>, ifindex: u32) -> Judgement {
    rules.explained_by_a_backend(passage, ForwardMode::DsrIpip, |backend| {
        let inner = passage.input.get(passage.before.network..).unwrap_or_default();
        let (ether_type, mut expected) = outer_header(passage, backend)?;
        expected.extend_from_slice(inner);
        same(passage.output.get(12..14), Some(&ether_type.to_be_bytes()))?;
        same(passage.output.get(14..), Some(&expected))?;
        rules.hop_to_backend(backend)?.took(passage, ifindex)
    })
}

fn same(got: Option<&[u8]>, expected: Option<&[u8]>) -> Judgement {
    let (got, expected) = (got.unwrap_or_default(), expected.unwrap_or_default());
    if got == expected { Ok(()) } else { Err(difference(got, expected)) }
}

/// The outer header to a backend, and its `EtherType`.
fn outer_header(passage: &Passage<'_>, backend: &Backend) -> Result<(u16, Vec<u8>), String> {
    let inner_bytes = passage.before.length();
    let class = passage.before.traffic_class(passage.input);
    let protocol = if passage.before.v4 { IPV4_IN_IP } else { IPV6_IN_IP };
    match (ip_address(backend.tunnel_source), ip_address(backend.address)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, class, 0, 0, 0, 0, 0x40, 0, OUTER_TTL, protocol, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            put_half(&mut header, 2, length(inner_bytes + IPV4));
            let total = sum(&[&header]);
            put_half(&mut header, 10, !total);
            Ok((TYPE_IPV4, header))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0; 8];
            header.extend(source.octets());
            header.extend(destination.octets());
            put(&mut header, 0, &[0x60 | class >> 4, class << 4]);
            put_half(&mut header, 4, length(inner_bytes));
            put(&mut header, 6, &[protocol, OUTER_TTL]);
            debug_assert_eq!(header.len(), IPV6);
            Ok((TYPE_IPV6, header))
        }
        (source, destination) => Err(format!("a tunnel from {source} to {destination}")),
    }
}
