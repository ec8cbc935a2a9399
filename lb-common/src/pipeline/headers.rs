//! What the stages know of a packet's headers.
//!
//! Always holds: offsets are kept as they were found and masked where they are used, so that the kernel's verifier knows
//! their bounds although they come out of memory.

use crate::abi::FlowKey;
use crate::hash::Flow;
use crate::wire::tcp;

/// Largest offset of an IP header: two VLAN tags; the mask is the next power of two less one.
const IP_OFFSET_MASK: u16 = 0x1f;
/// Largest offset of a transport header that is followed.
pub const MOST_TRANSPORT_OFFSET: usize = TRANSPORT_OFFSET_MASK as usize;
const TRANSPORT_OFFSET_MASK: u16 = 0x3ff;

/// What the later stages need of a packet's headers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The 5-tuple. Of a later fragment and of ICMP without ports.
    pub flow: Flow,
    /// Whether the packet is IPv4.
    pub v4: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// TCP's control bits; 0 for all others.
    pub control: u8,
    /// Length of the IP packet, header included.
    pub length_bytes: u16,
    ip_offset: u16,
    transport_offset: u16,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Whether routers may not fragment it; always so in IPv6.
    pub dont_fragment: bool,
    /// Identification of a fragment, as it lies in the packet.
    pub identification: u32,
}

/// Whether a packet is a fragment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// A whole datagram.
    #[default]
    Whole = 0,
    /// The first fragment: it has the transport header.
    First = 1,
    /// Another one: it has no ports.
    Later = 2,
}

/// Where the headers of a packet begin, from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The IP header.
    pub ip: usize,
    /// The TCP, UDP or ICMP header.
    pub transport: usize,
}

impl Headers {
    /// Headers at these offsets, with nothing else known.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "both are below 1024")]
    pub fn at(ip_offset: usize, transport_offset: usize) -> Self {
        Self { ip_offset: ip_offset as u16, transport_offset: transport_offset as u16, ..Self::default() }
    }

    /// Writes down where they are.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "both are below 1024")]
    pub fn set_offsets(&mut self, ip: usize, transport: usize) {
        self.ip_offset = ip as u16;
        self.transport_offset = transport as u16;
    }

    /// Where the headers begin.
    #[inline(always)]
    pub const fn offsets(&self) -> Offsets {
        Offsets {
            ip: (self.ip_offset & IP_OFFSET_MASK) as usize,
            transport: (self.transport_offset & TRANSPORT_OFFSET_MASK) as usize,
        }
    }

    /// Length of the IP header with options and extension headers.
    #[inline(always)]
    pub const fn ip_header_bytes(&self) -> usize {
        let Offsets { ip, transport } = self.offsets();
        // The mask is for the verifier, which forgets bounds in a subtraction; never compare before it, or the compiler
        // finds that it changes nothing.
        transport.wrapping_sub(ip) & TRANSPORT_OFFSET_MASK as usize
    }

    /// Where the headers begin when the IP header begins at `ip`.
    #[inline(always)]
    pub const fn offsets_from(&self, ip: usize) -> Offsets {
        Offsets { ip, transport: ip + self.ip_header_bytes() }
    }

    /// Whether the packet opens a TCP connection: SYN without ACK.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.control & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// The flow as a key of tables.
    #[inline(always)]
    pub const fn flow_key(&self) -> FlowKey {
        FlowKey::of(&self.flow)
    }
}
