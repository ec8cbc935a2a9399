//! A slot of a pool's table: eight bytes with memory (docs/flows.md).
//!
//! Always holds: what a packet of a flow that is not remembered does is told by the slot alone; every change of a slot
//! is one of the functions here, which keep the promise that a flow with a packet in every `flow_timeout` stays where
//! it is.

use bytemuck::{Pod, Zeroable};

/// One slot: current backend (bits 0 to 31), base backend (32 to 61) and phase (62 and 63), in one word so that a
/// reader never sees half of a change.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot(pub u64);

/// What a slot remembers of the change before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Every flow of the slot is with the current backend.
    Stable = 0,
    /// A change happened within the last `flow_timeout`: unknown flows belong to the base backend.
    Learning = 1,
    /// All flows of before the change are in the flow table.
    Tracked = 2,
    /// The end of learning: no SYN goes to the base backend any more, so that none is on its way there unrecorded when
    /// the slot becomes tracked.
    Settling = 3,
}

/// Bits of a slot that name a base backend.
const BASE_MASK: u64 = 0x3fff_ffff;

impl Slot {
    /// The current backend of a slot whose pool has nobody who takes new flows.
    pub const NOBODY: u32 = u32::MAX;

    /// A slot whose flows are all with `current`.
    #[inline(always)]
    pub const fn stable(current: u32) -> Self {
        Self(current as u64)
    }

    /// A slot in `phase` that moved from `base` (below 2^30) to `current`.
    #[inline(always)]
    pub const fn new(current: u32, base: u32, phase: Phase) -> Self {
        Self((current as u64) | ((base as u64 & BASE_MASK) << 32) | ((phase as u64) << 62))
    }

    /// Index of the backend that takes new flows, or [`Self::NOBODY`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word is the field")]
    pub const fn current(self) -> u32 {
        self.0 as u32
    }

    /// Index of the backend that had the slot before; means something while the slot [`Self::has_base`].
    #[inline(always)]
    pub const fn base(self) -> u32 {
        ((self.0 >> 32) & BASE_MASK) as u32
    }

    /// The phase.
    #[inline(always)]
    pub const fn phase(self) -> Phase {
        match self.0 >> 62 {
            0 => Phase::Stable,
            1 => Phase::Learning,
            2 => Phase::Tracked,
            _ => Phase::Settling,
        }
    }

    /// Whether every flow is with the current backend. One comparison, for the hot path.
    #[inline(always)]
    pub const fn is_stable(self) -> bool {
        self.0 >> 62 == Phase::Stable as u64
    }

    /// Whether unknown flows belong to the base backend.
    #[inline(always)]
    pub const fn has_base(self) -> bool {
        matches!(self.phase(), Phase::Learning | Phase::Settling)
    }

    /// Backends that the slot leads to; [`Self::NOBODY`] may be among them.
    pub fn led_to(self) -> impl Iterator<Item = u32> {
        core::iter::once(self.current()).chain(self.has_base().then_some(self.base()))
    }

    /// The slot after `next` (a backend or [`Self::NOBODY`]) got it.
    #[must_use]
    pub const fn moved_to(self, next: u32) -> Self {
        if self.current() == next {
            return self;
        }
        match self.phase() {
            // Nobody has no flows to be remembered.
            Phase::Stable if self.current() == Self::NOBODY => Self::stable(next),
            Phase::Tracked if self.current() == Self::NOBODY => Self::new(next, 0, Phase::Tracked),
            Phase::Stable | Phase::Tracked => Self::new(next, self.current(), Phase::Learning),
            // Unknown flows are with the base, and all others are recorded: nothing is left to learn.
            Phase::Learning | Phase::Settling if self.base() == next => Self::new(next, 0, Phase::Tracked),
            Phase::Learning | Phase::Settling => Self::new(next, self.base(), self.phase()),
        }
    }

    /// The slot after it has learned for long enough.
    #[must_use]
    pub const fn settled(self) -> Self {
        match self.phase() {
            Phase::Learning => Self::new(self.current(), self.base(), Phase::Settling),
            Phase::Stable | Phase::Tracked | Phase::Settling => self,
        }
    }

    /// The slot if settling has to be given up.
    #[must_use]
    pub const fn unsettled(self) -> Self {
        match self.phase() {
            Phase::Settling => Self::new(self.current(), self.base(), Phase::Learning),
            Phase::Stable | Phase::Learning | Phase::Tracked => self,
        }
    }

    /// The slot after it has settled, or after its base has died.
    #[must_use]
    pub const fn tracked(self) -> Self {
        if self.has_base() { Self::new(self.current(), 0, Phase::Tracked) } else { self }
    }

    /// The slot after the last recorded flow that differs from the current backend has ended.
    #[must_use]
    pub const fn stabilised(self) -> Self {
        match self.phase() {
            Phase::Tracked => Self::stable(self.current()),
            Phase::Stable | Phase::Learning | Phase::Settling => self,
        }
    }
}

const _: () = assert!(size_of::<Slot>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    const fn learning(current: u32, base: u32) -> Slot {
        Slot::new(current, base, Phase::Learning)
    }

    const fn tracked(current: u32) -> Slot {
        Slot::new(current, 0, Phase::Tracked)
    }

    #[test]
    fn a_word_holds_all_three() {
        let slot = Slot::new(Slot::NOBODY, 0x3fff_ffff, Phase::Settling);
        assert_eq!((slot.current(), slot.base(), slot.phase()), (Slot::NOBODY, 0x3fff_ffff, Phase::Settling));
        assert!(!slot.is_stable() && slot.has_base());
        assert!(Slot::stable(Slot::NOBODY).is_stable());
    }

    #[test]
    fn a_move_remembers_who_had_it() {
        assert_eq!(Slot::stable(1).moved_to(2), learning(2, 1));
        assert_eq!(tracked(1).moved_to(2), learning(2, 1));
        assert_eq!(Slot::stable(1).moved_to(1), Slot::stable(1));
    }

    #[test]
    fn a_move_while_learning_keeps_the_base() {
        assert_eq!(learning(2, 1).moved_to(3), learning(3, 1));
        let settling = learning(2, 1).settled();
        assert_eq!(settling.moved_to(3), Slot::new(3, 1, Phase::Settling));
    }

    #[test]
    fn a_backend_that_comes_back_has_nothing_to_learn() {
        assert_eq!(learning(2, 1).moved_to(1), tracked(1));
        assert_eq!(learning(2, 1).settled().moved_to(1), tracked(1));
    }

    #[test]
    fn nobody_is_followed_without_memory() {
        assert_eq!(Slot::stable(Slot::NOBODY).moved_to(4), Slot::stable(4));
        assert_eq!(tracked(Slot::NOBODY).moved_to(4), tracked(4));
        assert_eq!(Slot::stable(4).moved_to(Slot::NOBODY), learning(Slot::NOBODY, 4));
        assert_eq!(learning(Slot::NOBODY, 4).moved_to(5), learning(5, 4));
    }

    #[test]
    fn a_slot_leads_to_its_backends_and_to_no_others() {
        assert!(learning(2, 1).led_to().eq([2, 1]));
        assert!(tracked(2).led_to().eq([2]) && Slot::stable(2).led_to().eq([2]));
    }
}
