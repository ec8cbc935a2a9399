//! What becomes of a frame, by numbers that are never reused.
//!
//! Passes are 0 to 63, drops 64 to 127, decapsulated packets 128 to 191. Imports the macro of `crate::abi`.

use crate::abi::reasons;

/// Size of the counters: every number is below it.
pub const DECAP_NUMBERS: u32 = 192;

/// First number of a drop.
const FIRST_DROP: u8 = 64;
/// First number of a packet that was decapsulated.
const FIRST_DELIVERED: u8 = 128;

reasons! {
    /// Why a frame was passed, dropped or decapsulated.
    DecapReason {
        /// Neither IPv4 nor IPv6 behind at most two VLAN tags: ARP and others.
        NotIp = 0, "not-ip";
        /// Neither IP in IP nor UDP to the GUE port.
        OtherProtocol = 1, "other-protocol";
        /// A tunnel to an address that is not one of this machine's tunnel addresses.
        OtherDestination = 2, "other-destination";
        /// A fragment of an outer packet.
        Fragment = 3, "fragment";
        /// The outer headers contradict each other, end too early, or have a wrong checksum.
        Malformed = 4, "malformed";

        /// A tunnel from an address that none may start from.
        SourceRefused = 64, "source-refused";
        /// GUE of another variant, a control message, or with fields that we do not know.
        GueUnsupported = 65, "gue-unsupported";
        /// The inner packet is not of the IP version that the outer header says.
        InnerVersion = 66, "inner-version";
        /// The inner packet is not whole, or not as long as what the tunnel carries.
        InnerLength = 67, "inner-length";
        /// The inner packet is not addressed to a VIP.
        NotVip = 68, "not-vip";
        /// Congestion experienced on the way, by a packet whose ends cannot be told so (RFC 6040, section 4.2).
        EcnViolation = 69, "ecn-violation";
        /// The packet's head could not be moved; never seen unless a driver is at fault.
        Inconsistent = 70, "inconsistent";
        /// The headers do not lie in the frame's first piece.
        HeadersSplit = 71, "headers-split";

        /// IPv4 in IPv4.
        Ipv4InIpv4 = 128, "ipv4-in-ipv4";
        /// IPv6 in IPv4.
        Ipv6InIpv4 = 129, "ipv6-in-ipv4";
        /// IPv4 in IPv6.
        Ipv4InIpv6 = 130, "ipv4-in-ipv6";
        /// IPv6 in IPv6.
        Ipv6InIpv6 = 131, "ipv6-in-ipv6";
        /// IPv4 in GUE over IPv4.
        Ipv4InGueIpv4 = 132, "ipv4-in-gue-ipv4";
        /// IPv6 in GUE over IPv4.
        Ipv6InGueIpv4 = 133, "ipv6-in-gue-ipv4";
        /// IPv4 in GUE over IPv6.
        Ipv4InGueIpv6 = 134, "ipv4-in-gue-ipv6";
        /// IPv6 in GUE over IPv6.
        Ipv6InGueIpv6 = 135, "ipv6-in-gue-ipv6";
    }
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecapVerdict {
    /// To the kernel's stack, untouched.
    Pass(DecapReason),
    /// Nowhere.
    Drop(DecapReason),
    /// To the kernel's stack, without its outer header.
    Deliver(DecapReason),
}

impl DecapReason {
    /// The verdict, which follows from the number's range.
    #[inline(always)]
    pub const fn verdict(self) -> DecapVerdict {
        match self.number() {
            0..FIRST_DROP => DecapVerdict::Pass(self),
            FIRST_DROP..FIRST_DELIVERED => DecapVerdict::Drop(self),
            _ => DecapVerdict::Deliver(self),
        }
    }

    /// The reason of a packet that was taken out of its tunnel.
    #[inline(always)]
    pub const fn of_tunnel(gue: bool, outer_v4: bool, inner_v4: bool) -> Self {
        match (gue, outer_v4, inner_v4) {
            (false, true, true) => Self::Ipv4InIpv4,
            (false, true, false) => Self::Ipv6InIpv4,
            (false, false, true) => Self::Ipv4InIpv6,
            (false, false, false) => Self::Ipv6InIpv6,
            (true, true, true) => Self::Ipv4InGueIpv4,
            (true, true, false) => Self::Ipv6InGueIpv4,
            (true, false, true) => Self::Ipv4InGueIpv6,
            (true, false, false) => Self::Ipv6InGueIpv6,
        }
    }
}

impl DecapVerdict {
    /// The reason.
    #[inline(always)]
    pub const fn reason(self) -> DecapReason {
        match self {
            Self::Pass(reason) | Self::Drop(reason) | Self::Deliver(reason) => reason,
        }
    }

    /// `pass`, `drop` or `deliver`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Drop(_) => "drop",
            Self::Deliver(_) => "deliver",
        }
    }
}

/// Kind (`pass`, `drop` or `deliver`) and name of a number.
pub fn decap_name(number: u8) -> Option<(&'static str, &'static str)> {
    let reason = DecapReason::ALL.iter().find(|reason| reason.number() == number)?;
    Some((reason.verdict().kind(), reason.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_below_the_counters_size() {
        let numbers: std::collections::BTreeSet<u8> =
            DecapReason::ALL.iter().map(|reason| reason.number()).collect();
        let names: std::collections::BTreeSet<&str> =
            DecapReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!((numbers.len(), names.len()), (DecapReason::ALL.len(), DecapReason::ALL.len()));
        assert!(numbers.iter().all(|number| u32::from(*number) < DECAP_NUMBERS));
    }

    #[test]
    fn the_kind_of_a_number_is_fixed() {
        assert_eq!(decap_name(4), Some(("pass", "malformed")));
        assert_eq!(decap_name(68), Some(("drop", "not-vip")));
        assert_eq!(decap_name(135), Some(("deliver", "ipv6-in-gue-ipv6")));
        assert_eq!(decap_name(63), None);
    }
}
