//! The way out: the backend's cached next hop, else the kernel's routing table, else the stack.

use super::{Headers, Verdict};
use crate::abi::{Backend, BackendFlags, DropReason, ForwardReason, PassReason};
use crate::tables::{NextHop, Route, RouteQuestion, Tables};
use crate::wire::{Packet, ethernet};

/// How a packet leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As a frame to that next hop.
    Wire(NextHop),
    /// Rewritten, through the stack, which resolves the neighbour.
    Stack,
}

impl Way {
    /// Whether this node's XDP program does a router's work, so that it owes the TTL's decrement.
    #[inline(always)]
    pub const fn routes_here(self) -> bool {
        matches!(self, Self::Wire(_))
    }
}

/// The way to a backend for an IP packet of `length_bytes`.
///
/// # Errors
/// The reason to drop it.
#[inline(always)]
pub fn way<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
    length_bytes: u16,
) -> Result<Way, DropReason> {
    if backend.flags & BackendFlags::RESOLVED != 0 {
        if length_bytes > backend.mtu_bytes {
            return Err(DropReason::TooBig);
        }
        return Ok(Way::Wire(NextHop { ethernet: backend.ethernet, ifindex: backend.ifindex }));
    }
    match tables.route(&RouteQuestion {
        v4: headers.v4,
        protocol: headers.flow.protocol,
        length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: headers.flow.source,
        destination: backend.address,
    }) {
        Route::Found(hop) => Ok(Way::Wire(hop)),
        Route::NoNeighbour => Ok(Way::Stack),
        Route::ToNode | Route::None => Err(DropReason::Unresolved),
        Route::TooBig => Err(DropReason::TooBig),
    }
}

/// Writes the frame's addresses and says where it goes.
#[inline(always)]
pub fn send<P: Packet>(packet: &P, way: Way, reason: ForwardReason) -> Verdict {
    let Way::Wire(hop) = way else {
        return Verdict::Pass(PassReason::NeighbourMissing);
    };
    let Some(frame) = packet.window().chunk::<{ ethernet::LEN }>(0) else {
        return Verdict::Drop(DropReason::Inconsistent);
    };
    ethernet::set_addresses(frame, hop.ethernet);
    if hop.ifindex == packet.ingress_ifindex() {
        Verdict::Transmit(reason)
    } else {
        Verdict::Redirect(reason, hop.ifindex)
    }
}
