//! Weighted Maglev tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4), built on the host.
//!
//! Imports core and std. Always holds: the same members, in any order, give the same table on every node; a member's
//! share of the slots differs from its share of the weights by less than one slot in each round of turns.

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
    index: u32,
    weight: u64,
    credit: u64,
    position: u32,
    skip: u32,
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

/// Backend indexes for every slot; empty when no member has weight. `slot_count` must be a prime above 1, so that
/// every walk meets every slot.
pub fn build(members: &[Member], slot_count: u32) -> Vec<u32> {
    let mut members: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
    members.sort_by_key(|member| (member.identity, member.index));
    let heaviest = u64::from(members.iter().map(|member| member.weight).max().unwrap_or(0));
    if heaviest == 0 || slot_count < 2 {
        return Vec::new();
    }
    let mut walks: Vec<Walk> = members.iter().map(|member| Walk::new(member, slot_count)).collect();
    let mut table: Vec<Option<u32>> = vec![None; slot_count as usize];
    let mut free = slot_count;
    while free > 0 {
        for walk in &mut walks {
            walk.credit += walk.weight;
            if walk.credit < heaviest {
                continue;
            }
            walk.credit -= heaviest;
            walk.take(&mut table, slot_count);
            free -= 1;
            if free == 0 {
                break;
            }
        }
    }
    table.into_iter().flatten().collect()
}

impl Walk {
    fn new(member: &Member, slot_count: u32) -> Self {
        let first = scramble(member.identity);
        let second = scramble(first ^ 0x6a09_e667_f3bc_c909);
        Self {
            index: member.index,
            weight: u64::from(member.weight),
            credit: 0,
            position: remainder(first, slot_count),
            skip: remainder(second, slot_count - 1) + 1,
        }
    }

    /// Takes the next slot of the walk that is free. There must be one.
    fn take(&mut self, table: &mut [Option<u32>], slot_count: u32) {
        for _ in 0..slot_count {
            let slot = table.get_mut(self.position as usize);
            let next = u64::from(self.position) + u64::from(self.skip);
            self.position = remainder(next, slot_count);
            if let Some(entry @ None) = slot {
                *entry = Some(self.index);
                return;
            }
        }
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

    #[test]
    fn removing_one_of_ten_moves_little_else() {
        let all = members(&[100; 10]);
        let before = build(&all, 65_537);
        let after = build(&all[..9], 65_537);
        let moved = before.iter().zip(&after).filter(|(a, b)| **a != 9 && a != b).count();
        assert!(moved < 65_537 / 20, "{moved} slots of the remaining backends moved");
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
                prop_assert!(u64::from(*share).abs_diff(ideal) <= 2, "{} instead of {}", share, ideal);
            }
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
