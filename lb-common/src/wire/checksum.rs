//! The Internet checksum, changed step by step and never computed over a payload (RFC 1071, RFC 1624).
//!
//! Words are summed as they lie in memory: the one's complement sum does not depend on byte order (RFC 1071,
//! section 2 (B)).

/// The difference that replacing words makes to a checksum.
#[derive(Clone, Copy, Default)]
pub struct Change(u64);

impl Change {
    /// Nothing replaced.
    pub const NONE: Self = Self(0);

    /// Replaces a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Replaces a 32-bit word that lies on an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Replaces an address of four words.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: [u32; 4], new: [u32; 4]) -> Self {
        let ([o0, o1, o2, o3], [n0, n1, n2, n3]) = (old, new);
        self.word(o0, n0).word(o1, n1).word(o2, n2).word(o3, n3)
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum field after the replacements: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3).
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + !checksum as u64)
    }

    /// The same for UDP: a field of 0 (none made) stays 0, and a result of 0 becomes 0xffff (RFC 768).
    #[inline(always)]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// Folds a sum of words into 16 bits with end-around carry.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the carries above 16 bits were added back in")]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}
