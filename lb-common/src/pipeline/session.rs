//! `full-nat`.

use super::{Step, Verdict, Work};
use crate::abi::DropReason;
use crate::tables::Tables;
use crate::wire::Packet;

/// Sends the packet that `work` describes on.
#[inline(always)]
pub fn session<P: Packet, T: Tables>(_packet: &mut P, _tables: &T, _work: &mut Work) -> Step {
    Step::Done(Verdict::Drop(DropReason::NoSession))
}
