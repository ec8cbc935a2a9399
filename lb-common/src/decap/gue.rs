//! The GUE header (draft-ietf-intarea-gue, section 3).

use super::DecapReason;
use super::outer::Tunnel;
use crate::wire::{Window, ipv4};

/// Length of the header of variant 0 without optional fields.
const LEN_BYTES: u16 = 4;
/// Its first byte: variant 0, no control message, no optional fields.
const PLAIN: u8 = 0;
/// The bits of the first byte that hold the variant.
const VARIANT_SHIFT: u8 = 6;
/// Variant 1: no header at all, an IP packet begins at once; its version field reads as the variant.
const DIRECT: u8 = 1;

/// Takes the header off what GUE carries; leaves other tunnels as they are. Drops what it does not know, as the draft
/// asks.
#[inline(always)]
pub fn read(window: Window<'_>, tunnel: Tunnel) -> Result<Tunnel, DecapReason> {
    if !tunnel.gue {
        return Ok(tunnel);
    }
    if tunnel.bytes < LEN_BYTES {
        return Err(DecapReason::GueUnsupported);
    }
    let Some(header) = window.chunk::<{ LEN_BYTES as usize }>(tunnel.offset) else {
        return Err(DecapReason::HeadersSplit);
    };
    let first = header.byte::<0>();
    if first >> VARIANT_SHIFT == DIRECT {
        return match first >> 4 {
            4 => Ok(Tunnel { v4: true, ..tunnel }),
            6 => Ok(Tunnel { v4: false, ..tunnel }),
            _ => Err(DecapReason::GueUnsupported),
        };
    }
    let has_flags = header.half::<2>() != 0;
    let v4 = match header.byte::<1>() {
        _ if first != PLAIN || has_flags => return Err(DecapReason::GueUnsupported),
        ipv4::PROTOCOL_IPV4 => true,
        ipv4::PROTOCOL_IPV6 => false,
        _ => return Err(DecapReason::GueUnsupported),
    };
    let offset = tunnel.offset + LEN_BYTES as usize;
    Ok(Tunnel { v4, offset, bytes: tunnel.bytes - LEN_BYTES, ..tunnel })
}
