//! Mutations that know nothing of headers.

use super::{Tools, scatter};
use crate::fuzz::LONGEST_BYTES;
use crate::fuzz::values::turning_point;
use fastrand::Rng;

/// Bytes from the start of a frame among which most damage is done: behind them hardly anybody looks.
const HEADERS_BYTES: usize = 96;
/// Most bits or bytes that one mutation changes.
const CHANGES_MOST: usize = 8;
/// Most bytes that one mutation moves or adds.
const RUN_MOST: usize = 64;

/// A place, in the headers for the most part.
fn place(frame: &[u8], rng: &mut Rng) -> usize {
    let most = if rng.u8(..8) == 0 { frame.len() } else { frame.len().min(HEADERS_BYTES) };
    rng.usize(..most.max(1))
}

/// Flips single bits.
pub fn flip_bits(frame: &mut [u8], tools: &mut Tools<'_>) {
    for _ in 0..tools.rng.usize(1..=CHANGES_MOST) {
        let (at, bit) = (place(frame, tools.rng), tools.rng.u8(..8));
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
}

/// Overwrites bytes and 16-bit words, with anything or with numbers at which something turns.
pub fn set_bytes(frame: &mut [u8], tools: &mut Tools<'_>) {
    for _ in 0..tools.rng.usize(1..=CHANGES_MOST) {
        let at = place(frame, tools.rng);
        let half = if tools.rng.bool() { turning_point(tools.rng) } else { tools.rng.u16(..) };
        let value = half.to_be_bytes();
        let from = tools.rng.usize(..2);
        scatter(frame, at..at + 1, &value[from..], tools.rng);
    }
}

/// Cuts the end off.
pub fn truncate(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let keep = place(frame, tools.rng);
    frame.truncate(keep);
}

/// Adds bytes at the end, behind the IP packet.
pub fn pad(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let most = if tools.rng.u8(..8) == 0 { LONGEST_BYTES } else { RUN_MOST };
    let length = frame.len() + tools.rng.usize(..=most);
    frame.resize(length, tools.rng.u8(..));
}

/// Takes bytes out, doubles them, or overwrites others with them.
pub fn move_bytes(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let from = place(frame, tools.rng);
    let to = frame.len().min(from + tools.rng.usize(1..=RUN_MOST));
    let run: Vec<u8> = frame.get(from..to).unwrap_or_default().to_vec();
    match tools.rng.u8(..3) {
        0 => drop(frame.drain(from.min(to)..to)),
        1 => drop(frame.splice(from.min(to)..from.min(to), run)),
        _ => {
            let at = place(frame, tools.rng);
            super::put(frame, at, &run);
        }
    }
}
