//! Later fragments: they have no ports, and go where the first fragment of their datagram went (RFC 791, RFC 8200
//! section 4.5).
//!
//! Always holds: what is remembered of a first fragment is bounded in number and in time; whoever is early is dropped and
//! counted.

use super::Work;
use super::headers::{Fragment, Headers};
use crate::abi::{Address, FRAGMENT_LIFE_MS, FragmentFate, FragmentKey, copy_address};
use crate::tables::Tables;

/// The datagram that a fragment is of.
#[inline(always)]
pub fn key(headers: &Headers) -> FragmentKey {
    let flow = &headers.flow;
    FragmentKey {
        source: flow.source,
        destination: flow.destination,
        identification: headers.identification,
        protocol: protocol(headers),
    }
}

/// What becomes of a datagram's fragments, and by whom they are counted.
#[derive(Clone, Copy)]
pub struct Fate {
    /// Where they go.
    pub goes: FragmentFate,
    /// A [`crate::abi::ForwardMode`] number.
    pub mode: u8,
    /// Index of the frontend's counters.
    pub service_index: u32,
    /// Index of the backend.
    pub backend_index: u32,
}

impl Fate {
    /// To the stack.
    pub const PASS: Self = Self { goes: FragmentFate::Pass, mode: 0, service_index: 0, backend_index: 0 };
}

/// Remembers what becomes of the datagram that `work` describes, if this is its first fragment. `source` and `destination` are
/// what its packets get, where the fate says so.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "of the time the low half is what is kept")]
pub fn remember<T: Tables>(tables: &T, work: &mut Work, fate: Fate, source: &Address, destination: &Address) {
    let headers = &work.headers;
    if headers.fragment as u8 != Fragment::First as u8 {
        return;
    }
    // Where it lies, and field by field: on the stack there is no room, and a copy would be a call that loops over bytes.
    let key = &mut work.fragment_key;
    copy_address(&mut key.source, &headers.flow.source);
    copy_address(&mut key.destination, &headers.flow.destination);
    key.identification = headers.identification;
    key.protocol = protocol(headers);
    let value = &mut work.fragment;
    copy_address(&mut value.source, source);
    copy_address(&mut value.destination, destination);
    value.fate = fate.goes as u8;
    value.mode = fate.mode;
    value.service_index = fate.service_index;
    value.backend_index = fate.backend_index;
    value.seen_ms = tables.now_ms() as u32;
    tables.put_fragment(&work.fragment_key, &work.fragment);
}

/// In IPv6 the identification means the datagram by itself, and fragments may disagree about what comes next.
#[inline(always)]
fn protocol(headers: &Headers) -> u32 {
    if headers.v4 { u32::from(headers.flow.protocol) } else { 0 }
}

/// No address, where the fate needs none.
pub const NO_ADDRESS: Address = [0; 4];

/// What became of a fragment's first one, if it came, and not too long ago.
#[inline(always)]
pub fn recall<T: Tables>(tables: &T, headers: &Headers) -> Option<FragmentFate> {
    let value = tables.fragment(&key(headers))?;
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is kept")]
    let age_ms = (tables.now_ms() as u32).wrapping_sub(value.seen_ms);
    if age_ms > FRAGMENT_LIFE_MS {
        return None;
    }
    FragmentFate::from_number(value.fate)
}
