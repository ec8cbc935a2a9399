//! The ABI of the maps: keys, values, names and numbers that the kernel program and the agent share.
//!
//! Imports core and bytemuck. Always holds: every type is `repr(C)` without implicit padding, and its size is
//! asserted at compile time; a change of any layout or number comes with a new [`ABI_VERSION`].

mod backend;
mod counters;
mod flow;
mod fragment;
mod limiter;
mod link;
pub mod names;
pub mod place;
mod ports;
mod reason;
mod recorder;
mod reverse;
mod service;
mod session;
mod settings;
mod slot;

pub use backend::{Backend, BackendFlags, BackendIdentity, SNAT_ADDRESSES};
pub use counters::{BackendCounters, ServiceCounters, TrafficCounters};
pub use flow::{FlowCell, FlowKey, FlowState, FlowValue};
pub use fragment::{FRAGMENT_LIFE_MS, FRAGMENTS, FragmentFate, FragmentKey, FragmentValue};
pub use limiter::{ANSWER_KINDS, AnswerKind, Limiter, RecordRate};
pub use link::{Link, Tags, tags_bytes};
pub use ports::{ADDRESS_BITS, NetworkValue, PortsKey, RangeValue, ReverseRangeValue, alias};
pub(crate) use reason::reasons;
pub use reason::{DropReason, ForwardReason, NoteReason, PassReason, VERDICT_NUMBERS, verdict_name};
pub use recorder::{FlowCounters, RECORD_KINDS, RecordKind, Recorder, Recording};
pub use reverse::{REVERSE_PER_BACKEND, ReverseEntry, ReverseKey, ReverseValue};
pub use service::{AddressFlags, Affinity, ForwardMode, ServiceEntry, ServiceKey, ServiceValue};
pub use session::{Session, SessionCell, SessionSeen, SessionState, SessionWay};
pub use settings::{Lookups, Settings};
pub use slot::{Phase, Slot};

/// Version of every layout and number in this module; names the directory that maps are pinned under.
pub const ABI_VERSION: u32 = 3;

/// An IPv6 address, or an IPv4 address in its v4-mapped form (RFC 4291 section 2.5.5.2), as four words in the order
/// and byte order in which they lie in a packet.
pub type Address = [u32; 4];

/// The third word of a v4-mapped address.
pub const V4_MAPPED_WORD: u32 = u32::from_be(0x0000_ffff);

/// The v4-mapped form of an IPv4 address given as it lies in a packet.
#[inline(always)]
pub const fn mapped(v4: u32) -> Address {
    [0, 0, V4_MAPPED_WORD, v4]
}

/// Copies an address from one place in memory to another, word by word: the compiler would make a call of it that loops over
/// bytes.
#[inline(always)]
pub fn copy_address(to: &mut Address, from: &Address) {
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: the reference is to a whole, aligned word; volatile keeps the four loads apart.
        *to = unsafe { core::ptr::read_volatile(from) };
    }
}

/// Whether an address is v4-mapped.
#[inline(always)]
pub const fn is_mapped(address: Address) -> bool {
    let [a, b, c, _] = address;
    a | b == 0 && c == V4_MAPPED_WORD
}

/// The [`Address`] of an IP address.
#[cfg(any(feature = "host", test))]
pub fn address(ip: core::net::IpAddr) -> Address {
    let octets = match ip {
        core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        core::net::IpAddr::V6(v6) => v6.octets(),
    };
    bytemuck::cast(octets)
}

/// The IP address of an [`Address`]; v4-mapped ones become IPv4.
#[cfg(any(feature = "host", test))]
pub fn ip_address(address: Address) -> core::net::IpAddr {
    let octets: [u8; 16] = bytemuck::cast(address);
    core::net::IpAddr::V6(core::net::Ipv6Addr::from(octets)).to_canonical()
}
