//! Suggestions for what the operator may have meant.
//!
//! Role: the nearest name, key or prime. Imports `bounds` and `problem`'s quoting.
//! Always holds: the work is bounded by the limits in `bounds`, however large the file.

use super::bounds::{MAX_SUGGESTION_BYTES, MAX_SUGGESTION_CANDIDATES, POOL_SLOTS};
use super::problem::quoted;

/// The candidate nearest to `written`, if one is near enough to be what was meant.
pub(super) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if written.len() > MAX_SUGGESTION_BYTES {
        return None;
    }
    let written_chars = written.chars().count();
    let tolerated_edits = (written_chars / 3).max(1);
    candidates
        .into_iter()
        .take(MAX_SUGGESTION_CANDIDATES)
        .filter(|candidate| candidate.len() <= MAX_SUGGESTION_BYTES)
        // No distance is less than the difference in length, and that is cheaper to find.
        .filter(|candidate| candidate.chars().count().abs_diff(written_chars) <= tolerated_edits)
        .map(|candidate| (strsim::osa_distance(written, candidate), candidate))
        .filter(|(edits, _)| *edits <= tolerated_edits)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The hint for a name that does not exist: the nearest one, or those that do exist, or `none_exist`.
pub(crate) fn name_hint<'c>(
    written: &str,
    known: impl Iterator<Item = &'c str> + Clone,
    none_exist: &str,
) -> String {
    const MOST_LISTED: usize = 8;
    if let Some(name) = nearest(written, known.clone()) {
        return format!("did you mean {}?", quoted(name));
    }
    let mut listed: Vec<String> = known.take(MOST_LISTED + 1).map(quoted).collect();
    if listed.is_empty() {
        return none_exist.to_owned();
    }
    let more = if listed.len() > MOST_LISTED { ", …" } else { "" };
    listed.truncate(MOST_LISTED);
    format!("known: {}{more}", listed.join(", "))
}

/// Whether `number` is prime. By trial division: the largest number asked for is about a million.
pub(super) fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..=number)
            .take_while(|divisor| u64::from(*divisor).pow(2) <= u64::from(number))
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The nearest primes below and above `number` that a slot table may have.
pub(super) fn nearest_slot_primes(number: u32) -> Vec<u32> {
    let below = (*POOL_SLOTS.start()..number).rev().find(|candidate| is_prime(*candidate));
    let above = (number..=*POOL_SLOTS.end()).find(|candidate| is_prime(*candidate));
    below.into_iter().chain(above).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("wieght", ["name", "weight", "state"]), Some("weight"));
        assert_eq!(nearest("wbe", ["web", "mail"]), Some("web"));
        assert_eq!(nearest("database", ["web", "mail"]), None);
    }

    #[test]
    fn a_hint_lists_what_exists_when_nothing_is_near() {
        let known = ["web", "mail"];
        assert_eq!(name_hint("database", known.into_iter(), "none"), "known: `web`, `mail`");
        assert_eq!(name_hint("database", std::iter::empty(), "add one"), "add one");
    }

    #[test]
    fn primes_are_prime() {
        let primes: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(*POOL_SLOTS.start()) && is_prime(*POOL_SLOTS.end()) && is_prime(65_537));
    }

    #[test]
    fn nearest_primes_stay_in_range() {
        assert_eq!(nearest_slot_primes(65_536), [65_521, 65_537]);
        assert_eq!(nearest_slot_primes(252), [251, 257]);
        assert_eq!(nearest_slot_primes(*POOL_SLOTS.end()), [1_048_571, 1_048_573]);
    }
}
