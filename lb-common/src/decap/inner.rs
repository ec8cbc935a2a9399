//! The inner packet: of the announced version, whole, and exactly as long as what the tunnel carries.

use super::DecapReason;
use super::outer::Tunnel;
use crate::abi::{Address, is_mapped, mapped};
use crate::wire::{Window, ipv4, ipv6};

/// What is needed of the inner packet.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Whether it is IPv4.
    pub v4: bool,
    /// Where it is addressed to.
    pub destination: Address,
    /// ECN field.
    pub ecn: u8,
}

/// Reads the inner packet's header. The error is the reason to drop the frame.
#[inline(always)]
pub fn read(window: Window<'_>, tunnel: Tunnel) -> Result<Inner, DecapReason> {
    if tunnel.v4 { read_ipv4(window, tunnel) } else { read_ipv6(window, tunnel) }
}

#[inline(always)]
fn read_ipv4(window: Window<'_>, tunnel: Tunnel) -> Result<Inner, DecapReason> {
    if tunnel.bytes < u16::from(ipv4::LEN_BYTES) {
        return Err(DecapReason::InnerLength);
    }
    let Some(ip) = window.chunk::<{ ipv4::LEN }>(tunnel.offset) else {
        return Err(DecapReason::HeadersSplit);
    };
    let version_ihl = ip.byte::<{ ipv4::field::VERSION_IHL }>();
    if version_ihl >> 4 != 4 {
        return Err(DecapReason::InnerVersion);
    }
    let header_bytes = u16::from(version_ihl & 0x0f) * 4;
    let length_bytes = u16::from_be(ip.half::<{ ipv4::field::TOTAL_LENGTH }>());
    if length_bytes != tunnel.bytes
        || header_bytes < u16::from(ipv4::LEN_BYTES)
        || length_bytes < header_bytes
    {
        return Err(DecapReason::InnerLength);
    }
    Ok(Inner {
        v4: true,
        destination: mapped(ip.word::<{ ipv4::field::DESTINATION }>()),
        ecn: ip.byte::<{ ipv4::field::TYPE_OF_SERVICE }>() & 0x3,
    })
}

#[inline(always)]
fn read_ipv6(window: Window<'_>, tunnel: Tunnel) -> Result<Inner, DecapReason> {
    if tunnel.bytes < u16::from(ipv6::LEN_BYTES) {
        return Err(DecapReason::InnerLength);
    }
    let Some(ip) = window.chunk::<{ ipv6::LEN }>(tunnel.offset) else {
        return Err(DecapReason::HeadersSplit);
    };
    let version_class = u16::from_be(ip.half::<{ ipv6::field::VERSION }>());
    if version_class >> 12 != 6 {
        return Err(DecapReason::InnerVersion);
    }
    let payload_bytes = u16::from_be(ip.half::<{ ipv6::field::PAYLOAD_LENGTH }>());
    if payload_bytes != tunnel.bytes - u16::from(ipv6::LEN_BYTES) {
        return Err(DecapReason::InnerLength);
    }
    let destination = ipv6::destination(ip);
    if is_mapped(destination) {
        // It would be looked up as the IPv4 address, which it is not.
        return Err(DecapReason::NotVip);
    }
    Ok(Inner { v4: false, destination, ecn: ((version_class >> 4) & 0x3) as u8 })
}
