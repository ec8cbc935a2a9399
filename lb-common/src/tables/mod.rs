//! What the pipeline asks of maps.
//!
//! Imports abi and hash. Always holds: the pipeline reaches every table through [`Tables`], so the kernel's maps and
//! the ones in memory give the same decisions.

#[cfg(any(feature = "host", test))]
mod memory;

#[cfg(any(feature = "host", test))]
pub use memory::{LruFlows, MemTables, Router};

use crate::abi::{
    Address, AnswerKind, Backend, FlowCell, FlowKey, FlowValue, FragmentKey, FragmentValue, Link,
    NetworkValue, PortsKey, RangeValue, Recorder, ReverseKey, ReverseRangeValue, ReverseValue, ServiceKey,
    ServiceValue, Session, SessionCell, Settings, Slot,
};
use crate::hash::HashKey;
use core::ops::Deref;

/// The maps of the datapath, and the kernel's routing table.
pub trait Tables {
    /// A flow that is remembered, where it lies.
    type Flow<'a>: Deref<Target = FlowCell>
    where
        Self: 'a;
    /// One direction of a session, where it lies.
    type Session<'a>: Deref<Target = SessionCell>
    where
        Self: 'a;
    /// What is remembered of a first fragment, where it lies.
    type Fragment<'a>: Deref<Target = FragmentValue>
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

    /// What there is to look for besides exact frontends and exact replies: [`crate::abi::Lookups`].
    fn lookups(&self) -> u32;

    /// The frontend whose range of ports has the key's.
    fn range(&self, key: &PortsKey) -> Option<&RangeValue>;

    /// The network of VIPs that an address is in.
    fn network(&self, address: Address) -> Option<&NetworkValue>;

    /// What a reply from a port of a range has to look like.
    fn reverse_range(&self, key: &PortsKey) -> Option<&ReverseRangeValue>;

    /// The port and tags of an interface that is a VLAN's.
    fn link(&self, ifindex: u32) -> Option<&Link>;

    /// What is remembered of a datagram in fragments.
    fn fragment(&self, key: &FragmentKey) -> Option<Self::Fragment<'_>>;

    /// Remembers a datagram in fragments, if the table takes it.
    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue);

    /// One direction of a session.
    fn session(&self, key: &FlowKey) -> Option<Self::Session<'_>>;

    /// Makes one direction of a session; [`Put::Taken`] if that key has one.
    fn put_session(&self, key: &FlowKey, session: &Session) -> Put;

    /// Takes one direction of a session away.
    fn drop_session(&self, key: &FlowKey);

    /// An address that `full-nat` sends from, by its index.
    fn snat(&self, index: u32) -> Option<Address>;

    /// Takes an answer of that kind off this CPU's budget; false if there is none left.
    fn may_answer(&self, kind: AnswerKind) -> bool;

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

/// What became of an attempt to add an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Its key was there before.
    Taken,
    /// There is no room.
    Full,
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
    /// The largest IP packet that the way takes, where the answer is [`RouteAnswer::TooBig`]; 0 if that is not known.
    pub mtu_bytes: u16,
}

impl Route {
    /// An answer without a way.
    pub const fn without_hop(answer: RouteAnswer) -> Self {
        Self { answer, hop: NextHop { ethernet: [0; 3], ifindex: 0 }, mtu_bytes: 0 }
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
