//! The way of a packet: parse, service, slot, backend, rewrite or encapsulate, verdict.
//!
//! Role: the branches are here, the stages only compute. Imports abi, hash, tables and wire.
//! Always holds: a packet that is passed is untouched, unless the reason says otherwise; a packet is either
//! forwarded whole or not at all. The fast path finishes a packet, or leaves it, untouched, to the stages behind it
//! (docs/datapath.md). Within a stage all is inlined: BPF functions return scalars only.

mod answer;
mod choose;
mod deliver;
mod embedded;
mod examine;
mod fast;
mod fragments;
mod headers;
mod icmp;
mod nat;
mod parse;
mod parse_any;
mod reply;
mod send;
mod session;
mod stage;
pub mod tunnel;

pub use examine::find_service;
pub use fast::fast;
pub use headers::{Fragment, Headers, Offsets};
pub use parse_any::parse_any;
pub use stage::{Complaint, Owner, Stage, Step, Work};

use crate::abi::{DropReason, ForwardReason, PassReason};
use crate::tables::Tables;
use crate::wire::Packet;

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel's stack.
    Pass(PassReason),
    /// Nowhere.
    Drop(DropReason),
    /// Out by the interface that it came in by.
    Transmit(ForwardReason),
    /// Out by the interface of that index.
    Redirect(ForwardReason, u32),
}

impl Verdict {
    /// The fixed number of the reason.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        match self {
            Self::Pass(reason) => reason.number(),
            Self::Drop(reason) => reason.number(),
            Self::Transmit(reason) | Self::Redirect(reason, _) => reason.number(),
        }
    }
}

/// Runs one stage behind the fast path on what the one before found out.
#[inline(always)]
pub fn run<P: Packet, T: Tables>(stage: Stage, packet: &mut P, tables: &T, work: &mut Work) -> Step {
    match stage {
        Stage::Examine => examine::examine(packet, tables, work),
        Stage::Deliver => deliver::deliver(packet, tables, work),
        Stage::Session => session::session(packet, tables, work),
        Stage::Icmp => icmp::icmp(packet, tables, work),
        Stage::Answer => answer::answer(packet, tables, work),
    }
}

/// Stages that a packet goes through at most, the fast path not counted: parsed, delivered, answered.
#[cfg(any(feature = "host", test))]
const MOST_STAGES: usize = 4;

/// Decides about `packet`, rewrites it where needed, and counts: every stage, one after the other, as the kernel runs them.
#[cfg(any(feature = "host", test))]
pub fn process<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let mut work = Work::default();
    let mut step = fast(packet, tables);
    for _ in 0..MOST_STAGES {
        match step {
            Step::Done(_) => break,
            Step::Go(stage) => step = run(stage, packet, tables, &mut work),
        }
    }
    let verdict = match step {
        Step::Done(verdict) => verdict,
        Step::Go(_) => Verdict::Drop(DropReason::Inconsistent),
    };
    tables.count_verdict(verdict.number());
    verdict
}
