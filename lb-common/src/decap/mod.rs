//! The other end of the tunnels: takes the packets of `dsr-ipip` and `dsr-gue` out of their outer headers.
//!
//! Role: decides about a frame that reaches a backend, for the XDP program `lb_decap` and for host tests alike. Imports
//! abi (addresses, the reasons' macro) and wire.
//! Always holds: a frame that is passed is untouched; one that is decapsulated is addressed to a VIP, and was in a tunnel
//! to one of this machine's tunnel addresses; a tunnelled packet for any other address never reaches the stack on its own.
//! Sources: RFC 2003, RFC 2473, RFC 4213 (IP in IP), draft-ietf-intarea-gue (GUE), RFC 6040 (ECN), RFC 6935 (UDP checksum).

pub mod abi;
mod ecn;
mod gue;
mod inner;
mod link;
mod outer;
mod reason;
mod strip;
mod tables;

pub use abi::PrefixKey;
pub use reason::{DECAP_NUMBERS, DecapReason, DecapVerdict, decap_name};
pub use tables::DecapTables;
#[cfg(any(feature = "host", test))]
pub use tables::MemDecapTables;

use crate::wire::{Packet, ethernet};
use inner::Inner;
use link::Link;
use outer::{Outer, Tunnel};

/// Decides about `packet`, takes the outer header off where it is a tunnel for a VIP, and counts.
#[inline(always)]
pub fn process<P: Packet, T: DecapTables>(packet: &mut P, tables: &T) -> DecapVerdict {
    let reason = decide(packet, tables);
    tables.count(reason);
    reason.verdict()
}

#[inline(always)]
fn decide<P: Packet, T: DecapTables>(packet: &mut P, tables: &T) -> DecapReason {
    // More than the window where the driver hands frames over in pieces.
    let frame_bytes = packet.len_bytes();
    let link = match link::read(packet.window()) {
        Ok(link) => link,
        Err(reason) => return reason,
    };
    let outer = match link.ether_type {
        ethernet::TYPE_IPV4 => outer::read_ipv4(packet.window(), link, frame_bytes),
        ethernet::TYPE_IPV6 => outer::read_ipv6(packet.window(), link, frame_bytes),
        _ => return DecapReason::NotIp,
    };
    match outer {
        Ok(outer) => decide_tunnel(packet, tables, link, &outer),
        Err(reason) => reason,
    }
}

/// A packet that may be a tunnel's.
#[inline(always)]
fn decide_tunnel<P: Packet, T: DecapTables>(
    packet: &mut P,
    tables: &T,
    link: Link,
    outer: &Outer,
) -> DecapReason {
    let tunnel = match outer::tunnel(packet.window(), outer, tables.gue_port()) {
        Ok(tunnel) => tunnel,
        Err(reason) => return reason,
    };
    if !tables.is_tunnel_address(&outer.destination) {
        return DecapReason::OtherDestination;
    }
    if !tables.accepts_source(&outer.source) {
        return DecapReason::SourceRefused;
    }
    let tunnel = match gue::read(packet.window(), tunnel) {
        Ok(tunnel) => tunnel,
        Err(reason) => return reason,
    };
    let inner = match inner::read(packet.window(), tunnel) {
        Ok(inner) => inner,
        Err(reason) => return reason,
    };
    if !tables.is_vip(&inner.destination) {
        return DecapReason::NotVip;
    }
    deliver(packet, link, outer, tunnel, &inner)
}

#[inline(always)]
fn deliver<P: Packet>(
    packet: &mut P,
    link: Link,
    outer: &Outer,
    tunnel: Tunnel,
    inner: &Inner,
) -> DecapReason {
    let Some(ecn) = ecn::combined(inner.ecn, outer.ecn) else {
        return DecapReason::EcnViolation;
    };
    let ether_type = if inner.v4 { ethernet::TYPE_IPV4 } else { ethernet::TYPE_IPV6 };
    if strip::strip(packet, link, tunnel.offset, ether_type).is_none() {
        return DecapReason::Inconsistent;
    }
    if ecn != inner.ecn && ecn::write(packet.window(), link.bytes, inner.v4, ecn).is_none() {
        return DecapReason::Inconsistent;
    }
    DecapReason::of_tunnel(tunnel.gue, outer.v4, inner.v4)
}
