//! Weighted Maglev tables with memory, built on the host.
//!
//! Each backend walks through the table in an order of its own (Eisenbud et al., "Maglev: A Fast and Reliable Software
//! Network Load Balancer", NSDI 2016, section 3.4). Unlike there, a table that is rebuilt keeps what it can: a backend
//! gives up only slots beyond its share, so that a change of one of N backends moves 1/N of the slots and no others.
//!
//! Imports abi and std. Always holds: the same members, in any order, and the same former table give the same table on
//! every node; a member's number of slots differs from its share of the weights by less than one.

use crate::abi::Slot;
use std::collections::HashMap;

/// A backend as the table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable identity: the same on every node and after every restart.
    pub identity: u64,
    /// What the table's entries shall say for it: the backend's index.
    pub index: u32,
    /// Share relative to the others; 0 takes no slot.
    pub weight: u32,
}

/// A member's walk through the table: every slot once, in an order of its own.
struct Walk {
    position: u32,
    skip: u32,
    /// Slots not visited yet.
    left: u32,
}

/// Scrambles an identity (the finaliser of `SplitMix64`, Steele et al., OOPSLA 2014).
const fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// `value` modulo `below`, which fits because `below` does.
#[expect(clippy::cast_possible_truncation, reason = "the remainder is below a u32")]
const fn remainder(value: u64, below: u32) -> u32 {
    (value % below as u64) as u32
}

/// Backend indexes for every slot of a new table; empty when no member has weight. `slot_count` must be a prime above
/// 1, so that every walk meets every slot.
pub fn build(members: &[Member], slot_count: u32) -> Vec<u32> {
    Filling::new(members, slot_count).map_or_else(Vec::new, Filling::finish)
}

/// Backend indexes for every slot of a table that was `former`; empty when no member has weight. As few slots as
/// possible change hands, and those that do go back to who had them before ([`Slot::base`]) where that is one of the
/// possible ways.
pub fn rebuild(former: &[Slot], members: &[Member]) -> Vec<u32> {
    let slot_count = u32::try_from(former.len()).unwrap_or(u32::MAX);
    let Some(mut filling) = Filling::new(members, slot_count) else { return Vec::new() };
    let positions: HashMap<u32, usize> =
        filling.members.iter().enumerate().map(|(position, member)| (member.index, position)).collect();
    for (at, slot) in former.iter().enumerate() {
        if let Some(position) = positions.get(&slot.current()) {
            filling.give(at, *position);
        }
    }
    for (at, slot) in former.iter().enumerate().filter(|(_, slot)| slot.has_base()) {
        if let Some(position) = positions.get(&slot.base())
            && filling.wants(*position)
            && filling.is_to_be_had(at)
        {
            filling.give(at, *position);
        }
    }
    filling.finish()
}

/// A table on its way. Members are known by their position.
struct Filling {
    /// Members with weight, in the order of their identities.
    members: Vec<Member>,
    /// Slots that each member should have; together all there are.
    quotas: Vec<u32>,
    /// Slots that each has.
    counts: Vec<u32>,
    /// Who has each slot.
    owners: Vec<Option<usize>>,
}

impl Filling {
    fn new(members: &[Member], slot_count: u32) -> Option<Self> {
        let mut members: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
        members.sort_by_key(|member| (member.identity, member.index));
        if members.is_empty() || slot_count < 2 {
            return None;
        }
        Some(Self {
            quotas: quotas(&members, slot_count),
            counts: vec![0; members.len()],
            members,
            owners: vec![None; slot_count as usize],
        })
    }

    fn wants(&self, position: usize) -> bool {
        self.counts.get(position) < self.quotas.get(position)
    }

    /// Whether a slot is free, or belongs to somebody who has more than it should.
    fn is_to_be_had(&self, at: usize) -> bool {
        match self.owners.get(at) {
            Some(Some(owner)) => self.counts.get(*owner) > self.quotas.get(*owner),
            Some(None) => true,
            None => false,
        }
    }

    fn give(&mut self, at: usize, position: usize) {
        let Some(owner) = self.owners.get_mut(at) else { return };
        if let Some(count) = owner.replace(position).and_then(|former| self.counts.get_mut(former)) {
            *count -= 1;
        }
        if let Some(count) = self.counts.get_mut(position) {
            *count += 1;
        }
    }

    /// Lets the members take turns until each has what it should.
    fn finish(mut self) -> Vec<u32> {
        let slot_count = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        let mut walks: Vec<(usize, Walk)> = self
            .members
            .iter()
            .enumerate()
            .filter(|(position, _)| self.wants(*position))
            .map(|(position, member)| (position, Walk::new(member.identity, slot_count)))
            .collect();
        // What cannot be had now cannot be had later, so that one walk is enough; the shares add up to all slots, so
        // that nobody walks in vain.
        while !walks.is_empty() {
            walks.retain_mut(|(position, walk)| {
                let found = walk.find(slot_count, |at| self.is_to_be_had(at));
                if let Some(at) = found {
                    self.give(at, *position);
                }
                found.is_some() && self.wants(*position)
            });
        }
        let index = |owner: &Option<usize>| owner.and_then(|owner| Some(self.members.get(owner)?.index));
        self.owners.iter().map(|owner| index(owner).unwrap_or(Slot::NOBODY)).collect()
    }
}

/// Every member's share of the slots, rounded so that they add up: first down, then up where most was lost.
fn quotas(members: &[Member], slot_count: u32) -> Vec<u32> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    let share = |member: &Member| u64::from(member.weight) * u64::from(slot_count);
    let mut quotas: Vec<u32> = members
        .iter()
        .map(|member| u32::try_from(share(member) / total.max(1)).unwrap_or(slot_count))
        .collect();
    let given: u32 = quotas.iter().sum();
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|position| {
        let lost = members.get(*position).map_or(0, |member| share(member) % total.max(1));
        (std::cmp::Reverse(lost), *position)
    });
    for position in order.into_iter().take(slot_count.saturating_sub(given) as usize) {
        if let Some(quota) = quotas.get_mut(position) {
            *quota += 1;
        }
    }
    quotas
}

impl Walk {
    fn new(identity: u64, slot_count: u32) -> Self {
        let first = scramble(identity);
        let second = scramble(first ^ 0x6a09_e667_f3bc_c909);
        Self {
            position: remainder(first, slot_count),
            skip: remainder(second, slot_count - 1) + 1,
            left: slot_count,
        }
    }

    /// The next slot of the walk that is wanted.
    fn find(&mut self, slot_count: u32, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        while self.left > 0 {
            let at = self.position as usize;
            self.left -= 1;
            let next = u64::from(self.position) + u64::from(self.skip);
            self.position = remainder(next, slot_count);
            if wanted(at) {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        weights
            .iter()
            .enumerate()
            .map(|(at, weight)| {
                let index = u32::try_from(at).unwrap();
                Member { identity: 0x1234_5678 ^ (u64::from(index) << 7), index, weight: *weight }
            })
            .collect()
    }

    fn shares(table: &[u32], count: usize) -> Vec<u32> {
        let mut shares = vec![0; count];
        for entry in table {
            shares[*entry as usize] += 1;
        }
        shares
    }

    #[test]
    fn equal_weights_give_equal_shares() {
        let shares = shares(&build(&members(&[100; 7]), 65_537), 7);
        assert!(shares.iter().all(|share| share.abs_diff(65_537 / 7) <= 1), "{shares:?}");
    }

    #[test]
    fn without_weight_there_is_no_table() {
        assert!(build(&[], 251).is_empty());
        assert!(build(&members(&[0, 0]), 251).is_empty());
    }

    fn table(owners: &[u32]) -> Vec<Slot> {
        owners.iter().map(|owner| Slot::stable(*owner)).collect()
    }

    fn moved(before: &[u32], after: &[u32]) -> usize {
        before.iter().zip(after).filter(|(before, after)| before != after).count()
    }

    #[test]
    fn one_of_n_moves_its_own_share_only() {
        for (count, slot_count) in [(2, 251), (3, 16_381), (10, 65_537), (100, 16_381), (160, 16_381)] {
            let all = members(&vec![100; count]);
            let most = slot_count as usize * 11 / (10 * count) + 1;
            let whole = build(&all, slot_count);
            let without = rebuild(&table(&whole), &all[1..]);
            let again = rebuild(&table(&without), &all);
            let removed = moved(&whole, &without);
            let added = moved(&without, &again);
            assert!(removed <= most && added <= most, "{count}: {removed} and {added} of {slot_count}");
        }
    }

    #[test]
    fn who_comes_back_while_slots_remember_it_gets_the_same_ones() {
        let all = members(&[100, 250, 40, 7]);
        let before = build(&all, 16_381);
        let without = rebuild(&table(&before), &all[1..]);
        let remembering: Vec<Slot> = before
            .iter()
            .zip(&without)
            .map(|(before, after)| Slot::stable(*before).moved_to(*after))
            .collect();
        assert_eq!(rebuild(&remembering, &all), before);
    }

    #[test]
    fn slots_of_nobody_are_filled_again() {
        let all = members(&[1, 1]);
        let shares = shares(&rebuild(&vec![Slot::stable(Slot::NOBODY); 251], &all), 2);
        assert_eq!(shares.iter().sum::<u32>(), 251);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shares_follow_the_weights(weights in proptest::collection::vec(0_u32..=1000, 1..40)) {
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let table = build(&members(&weights), 65_537);
            if total == 0 {
                prop_assert!(table.is_empty());
                return Ok(());
            }
            prop_assert_eq!(table.len(), 65_537);
            for (share, weight) in shares(&table, weights.len()).iter().zip(&weights) {
                let ideal = 65_537 * u64::from(*weight) / total;
                prop_assert!(u64::from(*share).abs_diff(ideal) <= 1, "{} instead of {}", share, ideal);
            }
        }

        #[test]
        fn a_rebuild_moves_no_more_than_the_shares_do(
            weights in proptest::collection::vec((0_u32..=1000, 0_u32..=1000), 1..20)
        ) {
            let (old, new): (Vec<u32>, Vec<u32>) = weights.iter().copied().unzip();
            let before = build(&members(&old), 1009);
            prop_assume!(!before.is_empty());
            let after = rebuild(&table(&before), &members(&new));
            prop_assume!(!after.is_empty());
            let (had, has) = (shares(&before, old.len()), shares(&after, old.len()));
            let least: u32 = had.iter().zip(&has).map(|(had, has)| had.saturating_sub(*has)).sum();
            prop_assert_eq!(moved(&before, &after), least as usize);
            // Nothing is left to do.
            prop_assert_eq!(rebuild(&table(&after), &members(&new)), after);
        }

        #[test]
        fn the_order_of_members_does_not_matter(weights in proptest::collection::vec(1_u32..=1000, 1..20)) {
            let mut members = members(&weights);
            let table = build(&members, 1009);
            members.reverse();
            prop_assert_eq!(build(&members, 1009), table);
        }
    }
}
