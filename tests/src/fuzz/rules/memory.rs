//! What was seen of datagrams in fragments and of sessions: later packets have to follow.
//!
//! Imports `anatomy`. Always holds: it is filled from what was forwarded, never from what the pipeline remembers.

use super::{Judgement, Passage};
use crate::fixtures::World;
use lb_common::abi::{ForwardReason, ip_address};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Source, destination, identification and, in IPv4, protocol of a datagram.
type Datagram = (IpAddr, IpAddr, u32, u8);

/// Source, ports (0 where there are none) and protocol of a flow; its destination, and that of its tunnel.
type Sender = (IpAddr, (u16, u16), u8);
type Receiver = (IpAddr, IpAddr);

/// What all fragments of a datagram have in common when they leave.
type Trace = (Kind, Vec<u8>);

/// What was done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses were replaced.
    Rewritten,
    /// It went to another MAC.
    Resent,
    /// It went into a tunnel.
    Wrapped,
}

impl Kind {
    /// That of a reason; none of those that are not said of fragments.
    pub const fn of(reason: ForwardReason) -> Option<Self> {
        match reason {
            ForwardReason::Nat
            | ForwardReason::NatReply
            | ForwardReason::FullNat
            | ForwardReason::FullNatReply => Some(Self::Rewritten),
            ForwardReason::DsrL2 => Some(Self::Resent),
            ForwardReason::DsrIpip | ForwardReason::DsrGue => Some(Self::Wrapped),
            ForwardReason::IcmpError
            | ForwardReason::IcmpErrorReply
            | ForwardReason::EchoReply
            | ForwardReason::TooBigAnswer
            | ForwardReason::ExpiredAnswer => None,
        }
    }
}

/// Source, destination and protocol of a flow.
pub type Tuple = (SocketAddr, SocketAddr, u8);

/// The other direction of a flow.
pub const fn turned((source, destination, protocol): Tuple) -> Tuple {
    (destination, source, protocol)
}

/// What was seen since the reset.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    firsts: BTreeMap<Datagram, Trace>,
    /// Outer headers by the flow and the backend.
    tunnels: BTreeMap<(Sender, Receiver), Vec<u8>>,
    /// What replies of a session have to become, by what they come as.
    sessions: BTreeMap<Tuple, Tuple>,
    /// Flows that may have a session whose packets nobody saw leave: the first one did not fit its way.
    unseen: BTreeSet<Tuple>,
}

impl Memory {
    /// What a world's own sessions make known.
    pub fn of(world: &World) -> Self {
        let end = |ip, port: u16| SocketAddr::new(ip_address(ip), u16::from_be(port));
        let replies = world.sessions.iter().filter(|(_, session)| session.way.reply != 0);
        let sessions = replies.map(|(key, session)| {
            let (way, protocol) = (&session.way, u8::try_from(key.protocol).unwrap_or_default());
            let comes =
                (end(key.source, key.source_port), end(key.destination, key.destination_port), protocol);
            let leaves =
                (end(way.source, way.source_port), end(way.destination, way.destination_port), protocol);
            (comes, leaves)
        });
        Self { sessions: sessions.collect(), ..Self::default() }
    }
}

fn datagram(passage: &Passage<'_>) -> Datagram {
    let before = &passage.before;
    let protocol = if before.v4 { before.protocol } else { 0 };
    (before.source(passage.input), before.destination(passage.input), before.identification, protocol)
}

fn trace(passage: &Passage<'_>, kind: Kind) -> Trace {
    let (source, destination) = passage.after.addresses();
    let same = match kind {
        Kind::Rewritten => source..destination + (destination - source),
        Kind::Resent => 0..6,
        Kind::Wrapped => destination..destination + (destination - source),
    };
    (kind, passage.output.get(same).unwrap_or_default().to_vec())
}

impl Memory {
    /// Whether a fragment that was forwarded left as the others of its datagram; a first one is remembered.
    pub fn follows(&mut self, passage: &Passage<'_>, kind: Kind) -> Judgement {
        match passage.before.fragment {
            None => Ok(()),
            Some(0) => {
                self.firsts.insert(datagram(passage), trace(passage, kind));
                Ok(())
            }
            Some(_) => match self.firsts.get(&datagram(passage)) {
                None => Err("a later fragment was forwarded, and its first one was not".to_owned()),
                Some(first) if *first != trace(passage, kind) => {
                    Err(format!("a later fragment left otherwise than its first one: {first:02x?}"))
                }
                Some(_) => Ok(()),
            },
        }
    }

    /// Whether the packets of a flow leave in the same outer header, so that nothing on the way changes their order.
    pub fn stays_in_its_tunnel(&mut self, passage: &Passage<'_>, outer: &[u8]) -> Judgement {
        let Passage { input, before, output, after } = passage;
        let (source, destination) = (before.source(input), before.destination(input));
        let ports = before.ports(input).unwrap_or_default();
        let key = ((source, ports, before.protocol), (destination, after.destination(output)));
        let former = self.tunnels.entry(key).or_insert_with(|| outer.to_vec());
        if former != outer {
            return Err(format!("a flow changed its tunnel from {former:02x?} to {outer:02x?}"));
        }
        Ok(())
    }

    /// Whether the first fragment of a packet's datagram was forwarded.
    pub fn has_first(&self, passage: &Passage<'_>) -> bool {
        self.firsts.contains_key(&datagram(passage))
    }

    /// Remembers a session, by a packet that came as `before` and left as `after`; two sessions may not be told apart by
    /// nothing.
    pub fn opens(&mut self, before: Tuple, after: Tuple) -> Judgement {
        // A flow that begins anew after its end has another session, and the one before is gone.
        self.sessions.retain(|came, left| *left != turned(before) || *came == turned(after));
        match self.sessions.insert(turned(after), turned(before)) {
            Some(other) if other != turned(before) => {
                Err(format!("{after:?} is two sessions: that of {before:?}, and {other:?}"))
            }
            _ => Ok(()),
        }
    }

    /// What a session's reply has to become.
    pub fn session(&self, reply: Tuple) -> Option<Tuple> {
        self.sessions.get(&reply).copied()
    }

    /// Remembers a client's packet that was answered instead of sent, after its session was made.
    pub fn was_refused(&mut self, packet: Tuple) {
        self.unseen.insert(packet);
    }

    /// Whether a flow may have a session that nobody saw a packet of.
    pub fn may_have_session(&self, packet: Tuple) -> bool {
        self.unseen.contains(&packet)
    }

    /// What a session's reply that left was when it came from the backend.
    pub fn session_that_left(&self, reply: Tuple) -> Option<Tuple> {
        self.sessions.iter().find(|(_, left)| **left == reply).map(|(came, _)| *came)
    }
}
