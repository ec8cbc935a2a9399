//! ICMP and `ICMPv6`: errors about a packet, and echo.

use super::Tools;
use crate::fuzz::anatomy::{Anatomy, ETHERNET, ICMP, ICMPV6, IPV4, IPV6, TAG};
use crate::fuzz::bytes::{length, put, put_half};

/// Kinds of errors as type and code: destination unreachable, fragmentation needed, time exceeded, parameter problem,
/// redirect.
const ERRORS_V4: [[u8; 2]; 6] = [[3, 0], [3, 3], [3, 4], [11, 0], [12, 0], [5, 1]];
/// The same of `ICMPv6`: unreachable, packet too big, time exceeded, parameter problem, redirect.
const ERRORS_V6: [[u8; 2]; 6] = [[1, 0], [1, 4], [2, 0], [3, 0], [4, 1], [137, 0]];

/// MTUs that a router may report: nonsense, the least, and usual ones.
const MTUS: [u16; 6] = [0, 68, 576, 1280, 1400, 1500];

/// Bytes of an inner upper layer that a sender of errors has to quote (RFC 792), and more.
const QUOTED_LEAST: usize = 8;

/// The packet, or what might be the answer to it, becomes an error about itself, sent to whom it is from.
pub fn embed(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    if tools.rng.bool() {
        super::answer(frame);
    }
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let mut quoted = frame.get(anatomy.network..anatomy.end.min(frame.len())).unwrap_or_default().to_vec();
    if tools.rng.bool() {
        let headers = anatomy.transport.saturating_sub(anatomy.network);
        quoted.truncate(headers + QUOTED_LEAST + 4 * tools.rng.usize(..6));
    }
    let kinds = if anatomy.v4 { ERRORS_V4 } else { ERRORS_V6 };
    let kind = tools.rng.choice(kinds).unwrap_or_default();
    let mtu = tools.rng.choice(MTUS).unwrap_or_default();
    let mut message = vec![kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    put_half(&mut message, 6, mtu);
    message.extend(quoted);
    // The node that found the error: a router on the way, or the receiver itself.
    let reporter = if tools.rng.bool() { Some(tools.values.address(tools.rng, anatomy.v4)) } else { None };
    wrap(frame, &anatomy, &message, reporter.as_deref());
}

/// The packet becomes an echo request or reply between the same two.
pub fn echo(frame: &mut Vec<u8>, tools: &mut Tools<'_>) {
    let Some(anatomy) = Anatomy::of(frame) else { return };
    let kinds = if anatomy.v4 { [8, 0] } else { [128, 129] };
    let kind = tools.rng.choice(kinds).unwrap_or_default();
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, tools.rng.u8(..)];
    message.resize(8 + tools.rng.usize(..80), 0x5a);
    // The other way round twice: from the sender to the receiver.
    super::answer(frame);
    wrap(frame, &anatomy, &message, None);
}

/// Puts an ICMP message into the frame, from the former receiver (or `reporter`) to the former sender.
fn wrap(frame: &mut Vec<u8>, anatomy: &Anatomy, message: &[u8], reporter: Option<&[u8]>) {
    super::answer(frame);
    let (source, destination) = anatomy.addresses();
    let size = destination - source;
    let addresses = frame.get(source..source + 2 * size).unwrap_or_default().to_vec();
    frame.truncate(ETHERNET + anatomy.tags * TAG);
    let mut header = vec![0; if anatomy.v4 { IPV4 } else { IPV6 }];
    if anatomy.v4 {
        put(&mut header, 0, &[0x45, 0]);
        put_half(&mut header, 2, length(IPV4 + message.len()));
        put(&mut header, 8, &[64, ICMP]);
        put(&mut header, 12, &addresses);
    } else {
        put(&mut header, 0, &[0x60]);
        put_half(&mut header, 4, length(message.len()));
        put(&mut header, 6, &[ICMPV6, 64]);
        put(&mut header, 8, &addresses);
    }
    if let Some(reporter) = reporter {
        put(&mut header, source - anatomy.network, reporter);
    }
    frame.extend(header);
    frame.extend(message);
}
