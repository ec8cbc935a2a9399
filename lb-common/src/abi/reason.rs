//! Why a packet was passed, dropped or forwarded: numbers that are never reused.
//!
//! One number names the counter, the log line and the line that operators read. Passes are 0 to 63, drops 64 to 127,
//! forwards 128 to 191, notes 192 to 207. A reason that goes out of use keeps its number as a comment.

/// Size of the verdict counters: every number is below it.
pub const VERDICT_NUMBERS: u32 = 208;

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The fixed number.
            #[inline(always)]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The name that metrics, logs and the CLI show.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a packet went to the kernel's stack untouched (or, where said, rewritten).
    PassReason {
        /// Neither IPv4 nor IPv6: ARP and others.
        NotIp = 0, "not-ip";
        /// Neither TCP nor UDP.
        OtherProtocol = 1, "other-protocol";
        /// No frontend and no backend's reply: the node's own traffic.
        NoService = 2, "no-service";
        /// A fragment.
        Fragment = 3, "fragment";
        /// The headers contradict each other or end too early.
        Malformed = 4, "malformed";
        /// A backend's packet to the node itself, such as the answer to a health check.
        ToNode = 5, "to-node";
        /// The next hop's neighbour entry is missing: rewritten, and left to the stack to send.
        NeighbourMissing = 6, "neighbour-missing";
        /// The kernel's FIB does not forward it: no route, or forwarding is off.
        NotForwarded = 7, "not-forwarded";
        /// It needs a part of the datapath that this kernel did not take.
        Unavailable = 8, "unavailable";
        /// More IPv6 extension headers than are followed, or a routing header with a way still to go.
        Extensions = 9, "extensions";
        /// Larger than the way on, and without Don't Fragment: rewritten, and left to the stack to fragment.
        ToFragment = 10, "to-fragment";
    }
}

reasons! {
    /// Why a packet was dropped.
    DropReason {
        /// The service has no backend that can take packets.
        NoBackend = 64, "no-backend";
        // 65 is kept for a service's packet with malformed headers, should they ever be told apart.
        /// TTL or hop limit used up.
        TtlExpired = 66, "ttl-expired";
        /// Larger than the way to the backend takes.
        TooBig = 67, "too-big";
        /// No room in front of the packet for the outer header.
        NoHeadroom = 68, "no-headroom";
        /// The next hop is unknown, and the packet cannot be left to the stack.
        Unresolved = 69, "unresolved";
        /// The maps contradict each other; never seen unless something else writes them.
        Inconsistent = 70, "inconsistent";
        /// A SYN that could not be remembered in the moment when it had to be; the client repeats it.
        SynRefused = 71, "syn-refused";
        /// A later fragment whose first one was not seen before it, or too long ago.
        FragmentEarly = 72, "fragment-early";
        /// An echo request to a VIP beyond what is answered a second.
        EchoLimited = 73, "echo-limited";
        /// `full-nat`: a TCP segment in the middle of a connection that is not known.
        NoSession = 74, "no-session";
        /// `full-nat`: no port is free for one more connection to the backend.
        PortsExhausted = 75, "ports-exhausted";
        /// `full-nat`: the session table is full.
        SessionsFull = 76, "sessions-full";
    }
}

reasons! {
    /// What was done with a packet that was forwarded.
    ForwardReason {
        /// Client to backend by destination NAT.
        Nat = 128, "nat";
        /// Backend to client, with the VIP as its source again.
        NatReply = 129, "nat-reply";
        /// Client to backend by destination MAC.
        DsrL2 = 130, "dsr-l2";
        /// Client to backend in IPIP.
        DsrIpip = 131, "dsr-ipip";
        /// Client to backend in GUE.
        DsrGue = 132, "dsr-gue";
        /// Client to backend with both addresses replaced.
        FullNat = 133, "full-nat";
        /// Backend to client with both addresses put back.
        FullNatReply = 134, "full-nat-reply";
        /// An ICMP error about a flow, to the backend that has it.
        IcmpError = 135, "icmp-error";
        /// An ICMP error about what a client sent, to the client.
        IcmpErrorReply = 136, "icmp-error-reply";
        /// The answer to an echo request to a VIP.
        EchoReply = 137, "echo-reply";
        /// The answer to a packet that is too big for the way on: fragmentation needed, or packet too big.
        TooBigAnswer = 138, "too-big-answer";
        /// The answer to a packet whose TTL or hop limit is used up: time exceeded.
        ExpiredAnswer = 139, "expired-answer";
    }
}

reasons! {
    /// What else is counted about packets, beside their verdicts.
    NoteReason {
        /// A packet to a backend whose next hop is not known in advance: the kernel's routing table was asked.
        RouteAsked = 192, "route-asked";
    }
}

/// Kind (`pass`, `drop`, `forward` or `note`) and name of a verdict number.
pub fn verdict_name(number: u8) -> Option<(&'static str, &'static str)> {
    let pass = PassReason::ALL.iter().find(|reason| reason.number() == number);
    let drop = DropReason::ALL.iter().find(|reason| reason.number() == number);
    let forward = ForwardReason::ALL.iter().find(|reason| reason.number() == number);
    let note = NoteReason::ALL.iter().find(|reason| reason.number() == number);
    pass.map(|reason| ("pass", reason.name()))
        .or(drop.map(|reason| ("drop", reason.name())))
        .or(forward.map(|reason| ("forward", reason.name())))
        .or(note.map(|reason| ("note", reason.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_ranges_and_unique() {
        let numbers: Vec<u8> = PassReason::ALL
            .iter()
            .map(|reason| reason.number())
            .chain(DropReason::ALL.iter().map(|reason| reason.number()))
            .chain(ForwardReason::ALL.iter().map(|reason| reason.number()))
            .chain(NoteReason::ALL.iter().map(|reason| reason.number()))
            .collect();
        let unique: std::collections::BTreeSet<u8> = numbers.iter().copied().collect();
        assert_eq!(unique.len(), numbers.len());
        assert!(PassReason::ALL.iter().all(|reason| reason.number() < 64));
        assert!(DropReason::ALL.iter().all(|reason| (64..128).contains(&reason.number())));
        assert!(ForwardReason::ALL.iter().all(|reason| (128..192).contains(&reason.number())));
        assert!(NoteReason::ALL.iter().all(|reason| (192..208).contains(&reason.number())));
        assert_eq!(verdict_name(64), Some(("drop", "no-backend")));
        assert_eq!(verdict_name(63), None);
    }
}
