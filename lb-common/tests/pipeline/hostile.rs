//! Bytes that no sound sender sends: nothing panics, and what is not forwarded is not touched.

use super::setting::{Extras, Setting, extras, frame, run, settings};
use etherparse::Ipv4Header;
use lb_common::abi::{ForwardMode, PassReason};
use lb_common::pipeline::Verdict;
use proptest::prelude::*;

/// Headers at their longest: Ethernet, IPv4 with all options, TCP without options.
const HEADERS_BYTES: usize = 14 + 60 + 20;

const ALL: &[ForwardMode] = &[ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip];

/// What holds for every frame.
fn check(setting: &Setting, packet: &[u8]) -> Verdict {
    let tables = setting.tables();
    let (verdict, out) = run(&tables, packet);
    let counted: u64 = tables.verdicts.borrow().values().sum();
    assert_eq!(counted, 1, "one verdict for one packet");
    match verdict {
        Verdict::Pass(reason) => {
            // Everything else that is passed is untouched; this one is rewritten for the stack.
            assert_ne!(reason, PassReason::NeighbourMissing, "every next hop of the setting is known");
            assert_eq!(out, packet, "a packet that is passed is untouched");
        }
        Verdict::Drop(_) => {}
        Verdict::Transmit(_) | Verdict::Redirect(..) => {
            if ipv4_checksum_is_right(packet) == Some(true) {
                assert_eq!(ipv4_checksum_is_right(&out), Some(true), "a right header checksum stays right");
            }
            assert!(out.len() >= packet.len(), "no byte is lost");
        }
    }
    verdict
}

/// Whether the header checksum of an IPv4 frame is right.
fn ipv4_checksum_is_right(frame: &[u8]) -> Option<bool> {
    let (header, _) = Ipv4Header::from_slice(frame.get(14..)?).ok()?;
    (frame.get(12..14)? == [8, 0]).then(|| header.header_checksum == header.calc_header_checksum())
}

/// What is done to a sound frame.
#[derive(Clone, Debug)]
struct Damage {
    /// Bytes to overwrite in its headers, and where.
    bytes: Vec<(prop::sample::Index, u8)>,
    /// Whether the IPv4 header checksum is made right again, so that a receiver believes what it reads.
    repaired: bool,
    /// How much of it is left.
    cut: Option<prop::sample::Index>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let cut = proptest::option::weighted(0.3, any::<prop::sample::Index>());
    (bytes, any::<bool>(), cut).prop_map(|(bytes, repaired, cut)| Damage { bytes, repaired, cut })
}

impl Damage {
    fn done_to(&self, mut frame: Vec<u8>) -> Vec<u8> {
        let headers = frame.len().min(HEADERS_BYTES);
        for (at, byte) in &self.bytes {
            frame[at.index(headers)] = *byte;
        }
        if self.repaired
            && let Ok((header, _)) = Ipv4Header::from_slice(&frame[14..])
        {
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        if let Some(cut) = self.cut {
            frame.truncate(cut.index(frame.len() + 1));
        }
        frame
    }
}

fn sound(setting: &Setting, extras: &Extras) -> Vec<u8> {
    frame(setting.protocol, setting.client, setting.frontend, extras)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bytes_do_no_harm(
        setting in settings(ALL),
        mut packet in proptest::collection::vec(any::<u8>(), 0..200),
        ether_type in prop_oneof![Just([8_u8, 0]), Just([0x86, 0xdd]), any::<[u8; 2]>()],
    ) {
        if let Some(place) = packet.get_mut(12..14) {
            place.copy_from_slice(&ether_type);
        }
        check(&setting, &packet);
    }

    #[test]
    fn damaged_headers_do_no_harm(
        setting in settings(ALL), extras in extras(), damage in damage(),
    ) {
        check(&setting, &damage.done_to(sound(&setting, &extras)));
    }

    #[test]
    fn damaged_replies_do_no_harm(
        setting in settings(&[ForwardMode::Nat]), extras in extras(), damage in damage(),
    ) {
        let reply = frame(setting.protocol, setting.target, setting.client, &extras);
        check(&setting, &damage.done_to(reply));
    }

    #[test]
    fn a_packet_cut_anywhere_before_its_end_is_passed(
        setting in settings(ALL), extras in extras(), cut in any::<prop::sample::Index>(),
    ) {
        let packet = sound(&setting, &Extras { padding: 0, ..extras });
        let cut = cut.index(packet.len());
        prop_assert_eq!(check(&setting, &packet[..cut]), Verdict::Pass(PassReason::Malformed));
    }

    #[test]
    fn any_ttl_is_forwarded_whole_or_not_at_all(setting in settings(ALL), extras in extras(), ttl in 0..3_u8) {
        let packet = sound(&setting, &Extras { ttl, ..extras });
        let verdict = check(&setting, &packet);
        if setting.mode == ForwardMode::Nat && ttl < 2 {
            prop_assert!(matches!(verdict, Verdict::Drop(_)));
        } else {
            prop_assert!(matches!(verdict, Verdict::Transmit(_)));
        }
    }
}
