//! Later fragments: they have no ports, and go where the first fragment of their datagram went (RFC 791, RFC 8200
//! section 4.5).
//!
//! Always holds: what is remembered of a first fragment is bounded in number and in time; whoever is early is dropped and
//! counted.

use super::headers::{Fragment, Headers};
use crate::abi::{FRAGMENT_LIFE_MS, FragmentFate, FragmentKey, FragmentValue};
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

/// Remembers what becomes of a datagram, if this is its first fragment.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, headers: &Headers, value: FragmentValue) {
    if headers.fragment == Fragment::First {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is kept")]
        let seen_ms = tables.now_ms() as u32;
        tables.put_fragment(&key(headers), &FragmentValue { seen_ms, ..value });
    }
}

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
