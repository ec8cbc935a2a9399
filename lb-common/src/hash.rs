//! The keyed hash of a flow, and the slot it chooses.
//!
//! Imports core only. Always holds: the same flow and key give the same slot in the kernel, the agent and on every
//! peer. The key is random per cluster, so that nobody outside can aim at a slot; the hash is not cryptographic.

use crate::abi::{Address, Affinity};

/// Odd multipliers with well-spread bits.
const MULTIPLIER_A: u64 = 0x9e6c_63d0_876a_3f6b;
const MULTIPLIER_B: u64 = 0xd1b5_4a32_d192_ed03;

/// Key of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub u64, pub u64);

/// A 5-tuple, each field as it lies in the packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

#[inline(always)]
const fn pair(high: u32, low: u32) -> u64 {
    ((high as u64) << 32) | low as u64
}

#[inline(always)]
const fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER_A);
    product ^ (product >> 32)
}

#[inline(always)]
const fn finish(state: u64, key: HashKey) -> u64 {
    let product = (state ^ key.1).wrapping_mul(MULTIPLIER_B);
    (product ^ (product >> 29)).wrapping_mul(MULTIPLIER_A)
}

/// Hash of a flow. `v4` says that both addresses are v4-mapped: only their last words are read.
#[inline(always)]
pub const fn flow_hash(key: HashKey, flow: &Flow, v4: bool) -> u64 {
    let [s0, s1, s2, s3] = flow.source;
    let [d0, d1, d2, d3] = flow.destination;
    let ports = pair((flow.source_port as u32) << 16 | flow.destination_port as u32, flow.protocol as u32);
    let state = mix(key.0, pair(s3, d3));
    let state = if v4 { state } else { mix(mix(mix(state, pair(s0, d0)), pair(s1, d1)), pair(s2, d2)) };
    finish(mix(state, ports), key)
}

/// The parts of a flow that an affinity (its ABI number) looks at; the others are 0.
#[inline(always)]
pub const fn affine(flow: &Flow, affinity: u8) -> Flow {
    let destination = if affinity == Affinity::SourceVip as u8 { flow.destination } else { [0; 4] };
    Flow { source: flow.source, destination, source_port: 0, destination_port: 0, protocol: 0 }
}

/// The slot of a flow in a table of `slot_count` slots. `affinity` is an [`Affinity`] number, `v4` as for
/// [`flow_hash`].
#[inline(always)]
pub const fn flow_slot(key: HashKey, flow: &Flow, v4: bool, affinity: u8, slot_count: u32) -> u32 {
    let hash = if affinity == Affinity::Flow as u8 {
        flow_hash(key, flow, v4)
    } else {
        flow_hash(key, &affine(flow, affinity), v4)
    };
    slot_of(hash, slot_count)
}

/// The slot of a hash in a table of `slot_count` slots: a multiplication, no division, any size.
#[inline(always)]
pub const fn slot_of(hash: u64, slot_count: u32) -> u32 {
    (((hash >> 32) * slot_count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::mapped;

    const KEY: HashKey = HashKey(0x0123_4567_89ab_cdef, 0xfeed_beef_dead_cafe);

    fn flow(source: u32, port: u16) -> Flow {
        Flow {
            source: mapped(source.to_be()),
            destination: mapped(0x0a00_0001_u32.to_be()),
            source_port: port.to_be(),
            destination_port: 80_u16.to_be(),
            protocol: 6,
        }
    }

    /// Chi-squared of `hashes` over 256 slots; its mean is 255, its standard deviation 22.6.
    fn chi_squared(hashes: impl Iterator<Item = u64>) -> f64 {
        let mut counts = [0_u32; 256];
        let mut total = 0_u32;
        for hash in hashes {
            counts[slot_of(hash, 256) as usize] += 1;
            total += 1;
        }
        let expected = f64::from(total) / 256.0;
        counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum()
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        let ports = chi_squared((0..60_000_u16).map(|port| flow_hash(KEY, &flow(0x0a01_0203, port), true)));
        let sources = chi_squared((0..60_000_u32).map(|host| flow_hash(KEY, &flow(host, 4000), true)));
        let strided = chi_squared((0..60_000_u32).map(|host| flow_hash(KEY, &flow(host << 12, 4000), true)));
        let v6 = chi_squared((0..60_000_u32).map(|host| {
            let mut flow = flow(1, 4000);
            flow.source = [1, host, 2, 3];
            flow_hash(KEY, &flow, false)
        }));
        for (name, value) in [("ports", ports), ("sources", sources), ("strided", strided), ("v6", v6)] {
            assert!((155.0..380.0).contains(&value), "{name}: chi-squared {value}");
        }
    }

    #[test]
    fn one_bit_changes_half_of_the_bits() {
        for bit in 0..32 {
            let changed: u32 = (0..1000_u32)
                .map(|host| {
                    let a = flow_hash(KEY, &flow(host * 7919, 5), true);
                    let b = flow_hash(KEY, &flow((host * 7919) ^ (1 << bit), 5), true);
                    ((a ^ b) >> 32).count_ones()
                })
                .sum();
            assert!((13_000..19_000).contains(&changed), "bit {bit}: {changed} of 32,000 changed");
        }
    }

    #[test]
    fn another_key_gives_another_order() {
        let same = (0..10_000_u16)
            .filter(|port| {
                let flow = flow(9, *port);
                slot_of(flow_hash(KEY, &flow, true), 100)
                    == slot_of(flow_hash(HashKey(7, 9), &flow, true), 100)
            })
            .count();
        assert!((50..160).contains(&same), "{same} of 10,000 flows kept their slot of 100");
    }

    #[test]
    fn affinity_looks_at_its_parts_of_a_flow_only() {
        let of = |affinity: Affinity, flow: &Flow| flow_slot(KEY, flow, true, affinity as u8, 65_537);
        let one = flow(7, 4_000);
        let other_port = flow(7, 4_001);
        let other_vip = Flow { destination: mapped(0x0a00_0002_u32.to_be()), ..one };
        let other_client = flow(8, 4_000);
        let udp = Flow { protocol: 17, ..one };
        for flow in [other_port, other_vip, udp] {
            assert_ne!(of(Affinity::Flow, &one), of(Affinity::Flow, &flow));
            assert_eq!(of(Affinity::Source, &one), of(Affinity::Source, &flow));
        }
        assert_eq!(of(Affinity::SourceVip, &one), of(Affinity::SourceVip, &other_port));
        assert_ne!(of(Affinity::SourceVip, &one), of(Affinity::SourceVip, &other_vip));
        for affinity in [Affinity::Flow, Affinity::Source, Affinity::SourceVip] {
            assert_ne!(of(affinity, &one), of(affinity, &other_client));
        }
    }

    #[test]
    fn slots_stay_below_the_count() {
        assert_eq!(slot_of(u64::MAX, 65_537), 65_536);
        assert_eq!(slot_of(0, 65_537), 0);
        assert_eq!(slot_of(u64::MAX, 1), 0);
    }
}
