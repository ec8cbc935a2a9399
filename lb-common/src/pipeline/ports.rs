//! The walk over the addresses and ports that a session may have (after RFC 6056 section 3.3.3: where it begins is a keyed
//! hash of the flow).
//!
//! Always holds: as many steps as there are ports meet every one of them once.

use crate::hash::slot_of;

/// Least port of a session: those below it belong to services (RFC 6335).
pub const FIRST_PORT: u32 = 1_024;
/// Ports of an address.
pub const PORTS: u32 = 65_536 - FIRST_PORT;
/// The product of the primes that [`PORTS`] is made of: a step that leaves 1 has no divisor in common with it.
const PRIMES: u32 = 2 * 3 * 7;
/// How many such steps there are.
const STEPS: u32 = PORTS / PRIMES;

/// A walk. Its places are computed from their numbers: to wrap around by a branch would give the kernel's verifier four times
/// as many states with each step.
pub struct Walk {
    address: u32,
    addresses: u32,
    port: u32,
    step: u32,
}

impl Walk {
    /// Begins where the flow's hash says. Where it goes on to changes every second, so that who finds nothing free looks
    /// elsewhere when it asks again.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "parts of the hash")]
    pub fn new(hash: u64, now_s: u32, addresses: u16) -> Self {
        // Other bits than those that choose the slot: flows of one backend shall not begin at the same ports.
        let low = hash as u32;
        let mixed = low.wrapping_add(now_s).wrapping_mul(0x9e37_79b1);
        Self {
            address: slot_of(hash << 16, u32::from(addresses)),
            addresses: u32::from(addresses).max(1),
            port: slot_of(hash << 32, PORTS),
            step: 1 + PRIMES * slot_of(u64::from(mixed) << 32, STEPS),
        }
    }

    /// Which of the addresses comes at that step: they take turns.
    #[inline(always)]
    pub const fn address(&self, at: u32) -> u32 {
        (self.address + at) % self.addresses
    }

    /// The port at that step.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below 65,536")]
    pub const fn port(&self, at: u32) -> u16 {
        let port = (self.port as u64 + at as u64 * self.step as u64) % PORTS as u64;
        (FIRST_PORT + port as u32) as u16
    }
}

const _: () = assert!(PORTS.is_multiple_of(PRIMES));

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_walk_meets_every_port_once() {
        for (hash, now_s) in [(0, 0), (u64::MAX, 7), (0x0123_4567_89ab_cdef, 1_000_000)] {
            let walk = Walk::new(hash, now_s, 1);
            let mut seen = BTreeSet::new();
            for at in 0..PORTS {
                assert!(u32::from(walk.port(at)) >= FIRST_PORT && walk.address(at) == 0);
                assert!(seen.insert(walk.port(at)), "port {} comes again", walk.port(at));
            }
        }
    }

    #[test]
    fn addresses_take_turns() {
        let walk = Walk::new(0xdead_beef_0000_0001, 3, 3);
        let seen: BTreeSet<u32> = (0..3).map(|at| walk.address(at)).collect();
        assert_eq!(seen, BTreeSet::from([0, 1, 2]));
        assert_eq!(Walk::new(1, 3, 0).address(5), 0, "without addresses there is nothing to divide by");
    }

    #[test]
    fn every_step_has_no_divisor_in_common_with_the_ports() {
        const fn gcd(a: u32, b: u32) -> u32 {
            if b == 0 { a } else { gcd(b, a % b) }
        }
        assert!((0..STEPS).all(|number| gcd(1 + PRIMES * number, PORTS) == 1));
    }

    #[test]
    fn who_asks_again_a_second_later_goes_another_way() {
        let port = |now_s| Walk::new(0xabcd_ef01_2345_6789, now_s, 1).port(1);
        assert_ne!(port(1), port(2));
    }
}
