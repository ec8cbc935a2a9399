//! What the pipeline asks of maps.
//!
//! Imports abi and hash. Always holds: the pipeline reaches every table through [`Tables`], so the kernel's maps and
//! the ones in memory give the same decisions.

#[cfg(any(feature = "host", test))]
mod memory;

#[cfg(any(feature = "host", test))]
pub use memory::{LruFlows, MemTables, Router};

use crate::abi::{
    Address, Backend, FlowCell, FlowKey, FlowValue, Recorder, ReverseKey, ReverseValue, ServiceKey,
    ServiceValue, Settings, Slot,
};
use crate::hash::HashKey;
use core::ops::Deref;

/// The maps of the datapath, and the kernel's routing table.
pub trait Tables {
    /// A flow that is remembered, where it lies.
    type Flow<'a>: Deref<Target = FlowCell>
    where
        Self: 'a;

    /// Key of the flow hash.
    fn hash_key(&self) -> HashKey;

    /// The frontend that `key` names; `v4` says that its address is v4-mapped.
    fn service(&self, key: &ServiceKey, v4: bool) -> Option<&ServiceValue>;

    /// A slot, by its index in the map.
    fn slot(&self, index: u32) -> Option<Slot>;

    /// A backend entry; an unused one is all zero.
    fn backend(&self, index: u32) -> Option<&Backend>;

    /// Whether the reverse table holds anything.
    fn has_reverse(&self) -> bool;

    /// What a reply from `key` has to look like.
    fn reverse(&self, key: &ReverseKey, v4: bool) -> Option<&ReverseValue>;

    /// Asks the kernel's routing and neighbour tables.
    fn route(&self, question: &RouteQuestion) -> Route;

    /// The monotonic clock, in milliseconds; steps of a few are fine enough.
    fn now_ms(&self) -> u64;

    /// What is remembered of a flow.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;

    /// Remembers a flow. False if the table refuses.
    fn record(&self, key: &FlowKey, value: &FlowValue) -> bool;

    /// Lets `work` with this CPU's recorder and the settings; none if there is no such entry, which is never so.
    fn with_recorder<R>(&self, work: impl FnOnce(&mut Recorder, &Settings) -> R) -> Option<R>;

    /// Counts a packet from a client for a frontend.
    fn count_service(&self, index: u32, traffic: Traffic);

    /// Counts a packet from a client for a backend.
    fn count_backend(&self, index: u32, traffic: Traffic);

    /// Counts a reply for a frontend and a backend.
    fn count_reply(&self, service_index: u32, backend_index: u32, bytes: u32);

    /// Counts a verdict by its number.
    fn count_verdict(&self, number: u8);
}

/// What a packet adds to counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Length of the IP packet.
    pub bytes: u32,
    /// Whether it opens a TCP connection (SYN without ACK).
    pub opens: bool,
}

/// Where a packet wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteQuestion {
    /// Whether the addresses are v4-mapped.
    pub v4: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Length of the IP packet in bytes, for the path's MTU.
    pub length_bytes: u16,
    /// Interface that the packet came in by.
    pub ingress_ifindex: u32,
    /// Source address that the packet will have.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
}

/// The routing table's answer.
///
/// A struct, not an enum with a payload: the compiler would leave the payload of the other variants undefined, and
/// the kernel's verifier refuses a program that so much as spills an undefined register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it says.
    pub answer: RouteAnswer,
    /// The way; zero where there is none.
    pub hop: NextHop,
}

impl Route {
    /// An answer without a way.
    pub const fn without_hop(answer: RouteAnswer) -> Self {
        Self { answer, hop: NextHop { ethernet: [0; 3], ifindex: 0 } }
    }
}

/// What the routing table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAnswer {
    /// There is a way.
    Found,
    /// There is a way, but the neighbour's MAC is not known.
    NoNeighbour,
    /// The destination is this node, or it is no unicast address.
    ToNode,
    /// No route, forwarding is switched off, or a kind of route that XDP cannot take.
    None,
    /// The packet is larger than the path takes.
    TooBig,
}

/// Where a frame has to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Destination MAC and source MAC, as they lie in a frame.
    pub ethernet: [u32; 3],
    /// Interface to send by.
    pub ifindex: u32,
}
