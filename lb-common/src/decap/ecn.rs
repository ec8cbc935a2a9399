//! What the path said about congestion (RFC 6040, section 4.2, normal mode).

use crate::wire::{Window, checksum::Change, ipv4, ipv6};

/// The ends do not take part in ECN.
const NOT_ECT: u8 = 0b00;
/// The ends take part, codepoint ECT(1).
const ECT_1: u8 = 0b01;
/// The ends take part, codepoint ECT(0).
const ECT_0: u8 = 0b10;
/// Congestion experienced.
const CE: u8 = 0b11;

/// The ECN field of a packet that leaves its tunnel; none if it has to be dropped: congestion, which the packet cannot
/// carry on.
#[inline(always)]
pub const fn combined(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        _ => Some(inner),
    }
}

/// Writes the field of the IP header at `offset`; adapts IPv4's checksum. None if there is no such header.
#[inline(always)]
pub fn write(window: Window<'_>, offset: usize, v4: bool, ecn: u8) -> Option<()> {
    if v4 {
        let ip = window.chunk::<{ ipv4::LEN }>(offset)?;
        let old = ip.half::<{ ipv4::field::VERSION_IHL }>();
        let class = ip.byte::<{ ipv4::field::TYPE_OF_SERVICE }>();
        ip.set_byte::<{ ipv4::field::TYPE_OF_SERVICE }>(class & !0x3 | ecn);
        let change = Change::NONE.half(old, ip.half::<{ ipv4::field::VERSION_IHL }>());
        let sum = ip.half::<{ ipv4::field::CHECKSUM }>();
        ip.set_half::<{ ipv4::field::CHECKSUM }>(change.apply(sum));
    } else {
        let ip = window.chunk::<{ ipv6::LEN }>(offset)?;
        let first = u16::from_be(ip.half::<{ ipv6::field::VERSION }>());
        ip.set_half::<{ ipv6::field::VERSION }>((first & !0x30 | u16::from(ecn) << 4).to_be());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_combined_as_figure_4_of_the_rfc_says() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer in the same order.
        let order = [NOT_ECT, ECT_0, ECT_1, CE];
        let table = [
            [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
            [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
            [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
            [Some(CE), Some(CE), Some(CE), Some(CE)],
        ];
        for (inner, row) in order.into_iter().zip(table) {
            for (outer, wanted) in order.into_iter().zip(row) {
                assert_eq!(combined(inner, outer), wanted, "inner {inner:02b}, outer {outer:02b}");
            }
        }
    }
}
