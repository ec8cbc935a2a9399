//! Mutations of a frame: blind ones of its bytes, and such that know the headers.
//!
//! Role: one file for each family of mutations, chosen among here. Imports `anatomy`, `bytes`, `sums` and `values`.
//! Always holds: a mutation takes whatever frame it is given, and what it does follows from the random numbers alone.

mod blind;
mod fields;
mod icmp;
mod layers;
mod pieces;
mod repair;

pub use pieces::pieces;
pub use repair::repair;

use super::bytes::put;
use super::values::Values;
use super::{LONGEST_BYTES, SHORTEST_BYTES};
use fastrand::Rng;

/// What mutations work with.
pub struct Tools<'a> {
    /// Random numbers.
    pub rng: &'a mut Rng,
    /// Addresses and ports of the world.
    pub values: &'a Values,
}

/// A mutation that leaves a sound packet sound, checksums aside.
pub fn gently(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    match tools.rng.u8(..24) {
        0..5 => fields::ports(frame, tools),
        5..8 => fields::addresses(frame, tools),
        8..10 => fields::ttl(frame, tools),
        10..12 => fields::control(frame, tools),
        12 => fields::traffic_class(frame, tools),
        13 => fields::dont_fragment(frame, tools),
        14 | 15 => layers::resize_payload(frame, tools),
        16 | 17 => layers::insert_tags(frame, tools),
        18 => layers::insert_ipv4_options(frame, tools),
        19 => layers::insert_extension(frame, tools, true),
        20 | 21 => icmp::embed(frame, tools),
        22 => icmp::echo(frame, tools),
        _ => blind::pad(frame, tools),
    }
}

/// Any mutation.
pub fn roughly(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    match tools.rng.u8(..20) {
        0..4 => blind::flip_bits(frame, tools),
        4..7 => blind::set_bytes(frame, tools),
        7..11 => fields::any(frame, tools),
        11 => blind::truncate(frame, tools),
        12 => blind::pad(frame, tools),
        13 => blind::move_bytes(frame, tools),
        14 => layers::insert_extension(frame, tools, false),
        15 => fields::fragment(frame, tools),
        _ => gently(frame, tools),
    }
}

/// The beginning of one frame and the end of another.
pub fn splice(frame: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let (keep, from) = (rng.usize(..=frame.len()), rng.usize(..=other.len()));
    frame.truncate(keep);
    frame.extend_from_slice(other.get(from..).unwrap_or_default());
}

/// Source and destination swapped on every layer: what the receiver would answer.
pub fn answer(frame: &mut [u8]) {
    fields::swap(frame);
}

/// Makes a frame as long as a test run takes.
pub fn fit(frame: &mut Vec<u8>) {
    if frame.len() < SHORTEST_BYTES {
        frame.resize(SHORTEST_BYTES, 0);
    }
    frame.truncate(LONGEST_BYTES);
}

/// Writes a random choice of `bytes`' values at a random place of `range`.
fn scatter(frame: &mut [u8], range: std::ops::Range<usize>, value: &[u8], rng: &mut Rng) {
    if !range.is_empty() {
        put(frame, rng.usize(range), value);
    }
}
