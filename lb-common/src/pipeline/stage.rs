//! The programs that a packet may go through, and what they hand on to each other.
//!
//! The kernel runs each stage as a program of its own, by tail call: the first one stays small and quick, and every one
//! has the verifier's patience to itself. What one found out the next one reads in [`Work`], of which each CPU has one.

use super::{Headers, Verdict};
use crate::abi::{FragmentKey, FragmentValue, ReverseValue, ServiceValue};

/// A part of the pipeline behind the fast path. Numbers are indexes of [`crate::abi::names::STAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// Parses everything that is understood, and finds out whose packet it is.
    Examine = 0,
    /// To the backend of a service, in every mode but `full-nat`.
    Deliver = 1,
    /// `full-nat`, both directions.
    Session = 2,
    /// ICMP to a VIP, and about a flow.
    Icmp = 3,
    /// An ICMP error as the node's own answer.
    Answer = 4,
}

impl Stage {
    /// Every stage, in the order of the numbers.
    pub const ALL: [Self; 5] = [Self::Examine, Self::Deliver, Self::Session, Self::Icmp, Self::Answer];
}

/// What a stage ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet is decided.
    Done(Verdict),
    /// It goes on, untouched so far.
    Go(Stage),
}

/// Whom a packet was found to belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// A service: a client's packet.
    #[default]
    Service = 0,
    /// A backend's reply (`nat`).
    Reply = 1,
    /// A later fragment of a client's packet, whose backend is known.
    Fragment = 2,
    /// A later fragment of a reply (`nat`).
    ReplyFragment = 3,
    /// A session's reply (`full-nat`).
    SessionReply = 4,
    /// A later fragment of a session's packet, either way.
    SessionFragment = 5,
}

/// What the stages know of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its headers.
    pub headers: Headers,
    /// Whose it is.
    pub owner: Owner,
    /// What the answer says.
    pub complaint: Complaint,
    /// The next hop's MTU, for [`Complaint::TooBig`].
    pub mtu_bytes: u16,
    /// For [`Complaint::TooBigInTunnel`]: bytes between the frame's IP header and the embedded client's packet.
    pub skipped_bytes: u16,
    /// Index of the backend, if `owner` is a fragment.
    pub backend_index: u32,
    /// The service.
    pub service: ServiceValue,
    /// What a reply has to look like; of fragments the addresses that they get.
    pub reverse: ReverseValue,
    /// Source that a session's fragment gets.
    pub source: crate::abi::Address,
    /// Room for what is remembered of a first fragment.
    pub fragment_key: FragmentKey,
    /// Likewise.
    pub fragment: FragmentValue,
}

/// What an ICMP error of the node's own says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Complaint {
    /// Fragmentation needed, or packet too big.
    #[default]
    TooBig = 0,
    /// TTL or hop limit used up.
    Expired = 1,
    /// As the first, on behalf of a router behind the node: the packet at hand is that router's complaint about a tunnel, and
    /// embeds the client's packet.
    TooBigInTunnel = 2,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            headers: Headers::default(),
            owner: Owner::Service,
            complaint: Complaint::TooBig,
            mtu_bytes: 0,
            skipped_bytes: 0,
            backend_index: 0,
            service: ServiceValue::of_address(0),
            reverse: ReverseValue::default(),
            source: [0; 4],
            fragment_key: FragmentKey::default(),
            fragment: FragmentValue::default(),
        }
    }
}
