//! Later fragments: they have no ports, and go where the first fragment of their datagram went (RFC 791, RFC 8200
//! section 4.5).
//!
//! Always holds: what is remembered of a first fragment is bounded in number and in time; whoever is early is dropped and
//! counted.

use super::headers::{Fragment, Headers};
use crate::abi::{Address, FRAGMENT_LIFE_MS, FragmentFate, FragmentKey, FragmentValue};
use crate::tables::Tables;

/// The datagram that a fragment is of.
#[inline(always)]
pub fn key(headers: &Headers) -> FragmentKey {
    let flow = &headers.flow;
    FragmentKey {
        source: flow.source,
        destination: flow.destination,
        identification: headers.identification,
        // In IPv6 the number means the datagram by itself, and fragments may disagree about what comes next.
        protocol: if headers.v4 { u32::from(flow.protocol) } else { 0 },
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

/// Remembers what becomes of a datagram, if this is its first fragment. `source` and `destination` are what its packets get,
/// where the fate says so.
#[inline(always)]
pub fn remember<T: Tables>(
    tables: &T,
    headers: &Headers,
    fate: Fate,
    source: &Address,
    destination: &Address,
) {
    if headers.fragment as u8 == Fragment::First as u8 {
        let indexes = u64::from(fate.service_index) << 32 | u64::from(fate.backend_index);
        let fate = u32::from(fate.goes as u8) << 8 | u32::from(fate.mode);
        let now_ms = tables.now_ms();
        // Five arguments are all that a function may have.
        let value = Remembered { indexes, now_ms, fate };
        cold_remember(tables, headers, &value, source, destination);
    }
}

/// What does not fit into registers.
struct Remembered {
    indexes: u64,
    now_ms: u64,
    fate: u32,
}

/// Not inlined, so that whole datagrams do not carry it along.
#[cold]
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "each part of a word is a field; of the time the low half is kept"
)]
fn cold_remember<T: Tables>(
    tables: &T,
    headers: &Headers,
    value: &Remembered,
    source: &Address,
    destination: &Address,
) -> u32 {
    let value = FragmentValue {
        source: *source,
        destination: *destination,
        fate: (value.fate >> 8) as u8,
        mode: value.fate as u8,
        zero: 0,
        service_index: (value.indexes >> 32) as u32,
        backend_index: value.indexes as u32,
        seen_ms: value.now_ms as u32,
    };
    tables.put_fragment(&key(headers), &value);
    0
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
