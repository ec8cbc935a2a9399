//! Network address translation: one side of a flow gets another address and port, checksums follow.

use super::headers::{Fragment, Headers, Offsets};
use crate::abi::Address;
use crate::wire::{Window, checksum::Change, ipv4, ipv6, tcp, udp};

/// Which side of the flow is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Source address and port: a reply.
    Source,
    /// Destination address and port: a client's packet.
    Destination,
}

/// What a side becomes.
pub struct Replacement {
    /// The side.
    pub side: Side,
    /// Its new address, of the packet's family.
    pub address: Address,
    /// Its new port, as it lies in the packet.
    pub port: u16,
}

/// Makes every one of the replacements; the node's work as a router is done once.
#[inline(always)]
pub fn rewrite_all<const N: usize>(
    window: Window<'_>,
    at: Offsets,
    headers: &Headers,
    changes: &[Replacement; N],
    routes: bool,
) -> Option<()> {
    for (number, change) in changes.iter().enumerate() {
        rewrite(window, at, headers, change, routes && number == 0)?;
    }
    Some(())
}

/// Rewrites the packet, whose headers are `at`; takes one from TTL or hop limit if the node `routes` it itself (the stack does it otherwise).
///
/// None, with the packet untouched, if the headers are not inside the packet: `parse` excludes that.
#[inline(always)]
pub fn rewrite(
    window: Window<'_>,
    at: Offsets,
    headers: &Headers,
    to: &Replacement,
    routes: bool,
) -> Option<()> {
    let (old_address, old_port) = match to.side {
        Side::Source => (headers.flow.source, headers.flow.source_port),
        Side::Destination => (headers.flow.destination, headers.flow.destination_port),
    };
    let address_change = if headers.v4 {
        Change::NONE.word(last(old_address), last(to.address))
    } else {
        Change::NONE.address(old_address, to.address)
    };
    if headers.fragment as u8 != Fragment::Later as u8 {
        rewrite_transport(window, at.transport, headers, to, address_change.half(old_port, to.port))?;
    }
    if headers.v4 {
        let ip = window.chunk::<{ ipv4::LEN }>(at.ip)?;
        match to.side {
            Side::Source => ip.set_word::<{ ipv4::field::SOURCE }>(last(to.address)),
            Side::Destination => ip.set_word::<{ ipv4::field::DESTINATION }>(last(to.address)),
        }
        if routes {
            ipv4::route(ip, address_change);
        } else {
            let sum = ip.half::<{ ipv4::field::CHECKSUM }>();
            ip.set_half::<{ ipv4::field::CHECKSUM }>(address_change.apply(sum));
        }
    } else {
        let ip = window.chunk::<{ ipv6::LEN }>(at.ip)?;
        match to.side {
            Side::Source => ipv6::set_source(ip, to.address),
            Side::Destination => ipv6::set_destination(ip, to.address),
        }
        if routes {
            ip.set_byte::<{ ipv6::field::HOP_LIMIT }>(headers.ttl.wrapping_sub(1));
        }
    }
    Some(())
}

#[inline(always)]
fn rewrite_transport(
    window: Window<'_>,
    at: usize,
    headers: &Headers,
    to: &Replacement,
    change: Change,
) -> Option<()> {
    if headers.flow.protocol == tcp::PROTOCOL {
        let header = window.chunk::<{ tcp::LEN }>(at)?;
        match to.side {
            Side::Source => header.set_half::<{ tcp::field::SOURCE_PORT }>(to.port),
            Side::Destination => header.set_half::<{ tcp::field::DESTINATION_PORT }>(to.port),
        }
        let sum = header.half::<{ tcp::field::CHECKSUM }>();
        header.set_half::<{ tcp::field::CHECKSUM }>(change.apply(sum));
    } else {
        let header = window.chunk::<{ udp::LEN }>(at)?;
        match to.side {
            Side::Source => header.set_half::<{ udp::field::SOURCE_PORT }>(to.port),
            Side::Destination => header.set_half::<{ udp::field::DESTINATION_PORT }>(to.port),
        }
        let sum = header.half::<{ udp::field::CHECKSUM }>();
        header.set_half::<{ udp::field::CHECKSUM }>(change.apply_udp(sum));
    }
    Some(())
}

/// The word of a v4-mapped address that is the IPv4 address.
#[inline(always)]
fn last([_, _, _, word]: Address) -> u32 {
    word
}
