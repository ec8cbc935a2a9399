//! Ports that a service listens on, and how ranges of them fall into prefixes.

use std::fmt;
use std::ops::RangeInclusive;

/// Some ports of a service. Where several fit a packet, a single one comes before a range, and that before any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// A single one, from 1.
    One(u16),
    /// From the first to the last, which is greater; the first is 1 at least.
    Range(u16, u16),
    /// Any.
    Any,
}

impl Ports {
    /// The ports from the first to the last.
    pub fn all(self) -> RangeInclusive<u16> {
        match self {
            Self::One(port) => port..=port,
            Self::Range(first, last) => first..=last,
            Self::Any => 0..=u16::MAX,
        }
    }

    /// The port, if it is a single one.
    pub const fn one(self) -> Option<u16> {
        match self {
            Self::One(port) => Some(port),
            Self::Range(..) | Self::Any => None,
        }
    }

    /// Whether a port is of both.
    pub fn overlap(self, other: Self) -> bool {
        self.all().start() <= other.all().end() && other.all().start() <= self.all().end()
    }
}

/// `80`, `30000-32767` or `any`, as the configuration has it.
impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(port) => port.fmt(formatter),
            Self::Range(first, last) => write!(formatter, "{first}-{last}"),
            Self::Any => formatter.write_str("any"),
        }
    }
}

/// The ports that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPrefix {
    /// The first of them; bits behind the prefix are 0.
    pub first: u16,
    /// Length of the prefix, 0 to 16 bits.
    pub bits: u32,
}

/// Cuts ports into as few prefixes as there can be, in order: 30 at most (1 to 65,534).
pub fn prefixes(ports: Ports) -> Vec<PortPrefix> {
    let all = ports.all();
    let (mut first, end) = (u32::from(*all.start()), u32::from(*all.end()) + 1);
    let mut pieces = Vec::new();
    while let Ok(start) = u16::try_from(first)
        && first < end
    {
        // As large as its beginning is even, and as there are ports left.
        let aligned = if start == 0 { u16::BITS } else { start.trailing_zeros() };
        let host_bits = aligned.min((end - first).ilog2());
        pieces.push(PortPrefix { first: start, bits: u16::BITS - host_bits });
        first += 1 << host_bits;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST_PIECES: usize = 30;

    #[test]
    fn the_extremes_are_cut_right() {
        assert_eq!(prefixes(Ports::Any), [PortPrefix { first: 0, bits: 0 }]);
        assert_eq!(prefixes(Ports::One(65_535)), [PortPrefix { first: 65_535, bits: 16 }]);
        assert_eq!(prefixes(Ports::Range(1, 65_534)).len(), MOST_PIECES);
        assert_eq!(prefixes(Ports::Range(32_768, 65_535)), [PortPrefix { first: 32_768, bits: 1 }]);
    }

    #[test]
    fn ports_overlap_if_they_share_one() {
        assert!(Ports::Range(10, 20).overlap(Ports::Range(20, 30)));
        assert!(!Ports::Range(10, 20).overlap(Ports::Range(21, 30)));
        assert!(Ports::Any.overlap(Ports::One(7)) && Ports::One(7).overlap(Ports::Range(1, 7)));
        assert!(!Ports::One(7).overlap(Ports::One(8)));
    }

    proptest! {
        #[test]
        fn prefixes_hold_exactly_the_ports_of_the_range(one in 1_u16.., other in 1_u16..) {
            let (first, last) = (one.min(other), one.max(other));
            let pieces = prefixes(Ports::Range(first, last));
            prop_assert!(pieces.len() <= MOST_PIECES);
            let mut next = u32::from(first);
            for piece in pieces {
                prop_assert_eq!(u32::from(piece.first), next, "no port is left out and none is there twice");
                let size = 1_u32 << (u16::BITS - piece.bits);
                prop_assert_eq!(next % size, 0, "its ports begin with the same bits");
                next += size;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
        }
    }
}
