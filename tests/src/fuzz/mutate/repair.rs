//! Lengths and checksums made right again, so that what looks at them first lets the packet through.

use crate::fuzz::anatomy::{Anatomy, IPV6, UDP};
use crate::fuzz::bytes::{length, put_half};
use crate::fuzz::sums::{repair_header, repair_transport};
use fastrand::Rng;

/// Makes checksums right, and in one of four cases lengths before them.
pub fn repair(frame: &mut [u8], rng: &mut Rng) {
    if rng.u8(..4) == 0 {
        lengths(frame);
    }
    let Some(anatomy) = Anatomy::of(frame) else { return };
    repair_header(frame, &anatomy);
    repair_transport(frame, &anatomy);
}

/// Makes the IPv4 header's checksum right.
pub fn header(frame: &mut [u8]) {
    if let Some(anatomy) = Anatomy::of(frame) {
        repair_header(frame, &anatomy);
    }
}

/// The IP packet takes all of the frame, and a UDP datagram all of the packet.
fn lengths(frame: &mut [u8]) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let whole = frame.len() - anatomy.network;
    if anatomy.v4 {
        put_half(frame, anatomy.network + 2, length(whole));
    } else {
        put_half(frame, anatomy.network + 4, length(whole.saturating_sub(IPV6)));
    }
    if anatomy.protocol == UDP && anatomy.has_transport() && anatomy.transport < frame.len() {
        let rest = frame.len() - anatomy.transport;
        put_half(frame, anatomy.transport + 4, length(rest));
    }
}
