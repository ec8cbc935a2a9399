//! A packet in fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

use super::repair;
use crate::fuzz::anatomy::{Anatomy, FRAGMENT, IPV6};
use crate::fuzz::bytes::{byte, insert, length, put, put_half};
use fastrand::Rng;

/// Most fragments of a packet.
const PIECES_MOST: usize = 4;

/// The fragments of a packet, in order for the most part; none of one that cannot be cut.
pub fn pieces(frame: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let Some(anatomy) = Anatomy::of(frame).filter(|it| it.fragment.is_none()) else { return Vec::new() };
    let headers = if anatomy.v4 { anatomy.transport } else { anatomy.network + IPV6 };
    let Some(payload) = frame.get(headers..anatomy.end).filter(|it| it.len() > 8) else { return Vec::new() };
    let count = rng.usize(2..=PIECES_MOST);
    let size = (payload.len().div_ceil(count)).next_multiple_of(8);
    let id = rng.u16(..);
    let chunks = payload.chunks(size);
    let last = chunks.len().saturating_sub(1);
    let mut all: Vec<Vec<u8>> = chunks
        .enumerate()
        .map(|(at, chunk)| {
            let mut piece = frame.get(..headers).unwrap_or_default().to_vec();
            piece.extend_from_slice(chunk);
            let offset_more = (length(at * size), at < last);
            if anatomy.v4 {
                ipv4(&mut piece, &anatomy, offset_more, id);
            } else {
                ipv6(&mut piece, &anatomy, offset_more, id);
            }
            piece
        })
        .collect();
    if rng.u8(..4) == 0 {
        rng.shuffle(&mut all);
    }
    all
}

fn ipv4(piece: &mut [u8], anatomy: &Anatomy, (offset, more): (u16, bool), id: u16) {
    put_half(piece, anatomy.network + 2, length(piece.len() - anatomy.network));
    put_half(piece, anatomy.network + 4, id);
    put_half(piece, anatomy.network + 6, u16::from(more) << 13 | offset >> 3);
    repair::header(piece);
}

fn ipv6(piece: &mut Vec<u8>, anatomy: &Anatomy, (offset, more): (u16, bool), id: u16) {
    let at = anatomy.network + 6;
    let next = byte(piece, at).unwrap_or_default();
    let mut header = [0; 8];
    put(&mut header, 0, &[next]);
    put_half(&mut header, 2, offset | u16::from(more));
    put_half(&mut header, 6, id);
    put(piece, at, &[FRAGMENT]);
    insert(piece, anatomy.network + IPV6, &header);
    let payload = length(piece.len() - anatomy.network - IPV6);
    put_half(piece, anatomy.network + 4, payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Family, Protocol, Reach, Service, Shape, client};
    use crate::fuzz::anatomy::IPV4;

    #[test]
    fn the_payloads_of_the_fragments_are_that_of_the_packet() {
        for (family, fixed) in [(Family::V4, IPV4), (Family::V6, IPV6 + 8)] {
            let shape =
                Shape::new(Protocol::Udp, client(family, Reach::Neighbour), Service::Nat.frontend(family));
            let frame = shape.of_length(700).bytes();
            let whole = Anatomy::of(&frame).unwrap();
            let mut together = vec![0; whole.end - whole.transport];
            let all = pieces(&frame, &mut Rng::with_seed(7));
            assert!(all.len() > 1);
            for piece in &all {
                let anatomy = Anatomy::of(piece).unwrap();
                assert_eq!(anatomy.end, piece.len());
                let offset = anatomy.fragment.expect("it is a fragment");
                put(&mut together, offset, &piece[14 + fixed..]);
            }
            assert_eq!(together, frame[whole.transport..]);
        }
    }
}
