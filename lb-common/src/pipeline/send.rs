//! The way out: the backend's cached next hop, else the kernel's routing table, else the stack.

use super::{Headers, Verdict};
use crate::abi::{Backend, BackendFlags, DropReason, ForwardReason, PassReason};
use crate::tables::{NextHop, RouteAnswer, RouteQuestion, Tables};
use crate::wire::{Packet, ethernet};

/// How a packet leaves. A struct for the reason given at [`crate::tables::Route`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The kind of way.
    pub exit: Exit,
    /// The next hop; zero unless it leaves by the wire.
    pub hop: NextHop,
}

/// Kinds of ways out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As a frame to the next hop.
    Wire,
    /// Rewritten, through the stack, which resolves the neighbour.
    Stack,
    /// There is none.
    Closed(DropReason),
}

impl Way {
    /// Whether this node's XDP program does a router's work, so that it owes the TTL's decrement.
    #[inline(always)]
    pub const fn routes_here(self) -> bool {
        matches!(self.exit, Exit::Wire)
    }
}

/// The way to a backend for an IP packet of `length_bytes`.
#[inline(always)]
pub fn way<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    headers: &Headers,
    backend: &Backend,
    length_bytes: u16,
) -> Way {
    if backend.flags & BackendFlags::RESOLVED != 0 {
        let exit =
            if length_bytes > backend.mtu_bytes { Exit::Closed(DropReason::TooBig) } else { Exit::Wire };
        return Way { exit, hop: NextHop { ethernet: backend.ethernet, ifindex: backend.ifindex } };
    }
    let route = tables.route(&RouteQuestion {
        v4: headers.v4,
        protocol: headers.flow.protocol,
        length_bytes,
        ingress_ifindex: packet.ingress_ifindex(),
        source: headers.flow.source,
        destination: backend.address,
    });
    let exit = match route.answer {
        RouteAnswer::Found => Exit::Wire,
        RouteAnswer::NoNeighbour => Exit::Stack,
        RouteAnswer::ToNode | RouteAnswer::None => Exit::Closed(DropReason::Unresolved),
        RouteAnswer::TooBig => Exit::Closed(DropReason::TooBig),
    };
    Way { exit, hop: route.hop }
}

/// Writes the frame's addresses and says where it goes.
#[inline(always)]
pub fn send<P: Packet>(packet: &P, way: Way, reason: ForwardReason) -> Verdict {
    match way.exit {
        Exit::Wire => {}
        Exit::Stack => return Verdict::Pass(PassReason::NeighbourMissing),
        Exit::Closed(reason) => return Verdict::Drop(reason),
    }
    let Some(frame) = packet.window().chunk::<{ ethernet::LEN }>(0) else {
        return Verdict::Drop(DropReason::Inconsistent);
    };
    ethernet::set_addresses(frame, way.hop.ethernet);
    if way.hop.ifindex == packet.ingress_ifindex() {
        Verdict::Transmit(reason)
    } else {
        Verdict::Redirect(reason, way.hop.ifindex)
    }
}
