//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

/// Length of the header: type, code, checksum and a word that depends on the type.
pub const LEN: usize = 8;
/// IP protocol number of ICMP.
pub const PROTOCOL_V4: u8 = 1;
/// Next header number of ICMPv6.
pub const PROTOCOL_V6: u8 = 58;

/// Field offsets, by the RFC's names.
pub mod field {
    /// Type; with the code behind it one 16-bit word.
    pub const TYPE: usize = 0;
    /// Checksum.
    pub const CHECKSUM: usize = 2;
    /// The word that depends on the type.
    pub const REST: usize = 4;
    /// The next hop's MTU in a "fragmentation needed" (RFC 1191).
    pub const NEXT_HOP_MTU: usize = 6;
}

/// Types and codes of ICMP.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Code of it: fragmentation needed and Don't Fragment set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// Whether a type is an error about a packet, which it embeds.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// Types of ICMPv6.
pub mod v6 {
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;

    /// Whether a type is an error about a packet, which it embeds: 1 to 4 are defined.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }
}
