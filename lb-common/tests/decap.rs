//! Properties of decapsulation over random and damaged frames, with etherparse to build the sound ones.

use etherparse::{EtherType, Ethernet2Header, PacketBuilder, SingleVlanHeader, VlanId, VlanPcp};
use lb_common::abi::address;
use lb_common::decap::{DecapReason, DecapVerdict, MemDecapTables, PrefixKey, process};
use lb_common::wire::BufferPacket;
use proptest::prelude::*;
use std::net::IpAddr;

const END_V4: [u8; 4] = [10, 0, 0, 11];
const END_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];
const VIP_V4: [u8; 4] = [203, 0, 113, 10];
const VIP_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];

/// Two tags, IPv4 with all options, UDP, GUE, IPv6: the longest headers there are.
const HEADERS_BYTES: usize = 22 + 60 + 8 + 4 + 40;

fn tables() -> MemDecapTables {
    let single = |ip: IpAddr| PrefixKey::single(address(ip));
    MemDecapTables {
        ends: [address(END_V4.into()), address(END_V6.into())].into(),
        vips: vec![single(VIP_V4.into()), single(VIP_V6.into())],
        ..MemDecapTables::default()
    }
}

fn run(frame: &[u8], frame_bytes: usize) -> (DecapVerdict, Vec<u8>) {
    let tables = tables();
    let mut packet = BufferPacket::first_piece(frame, frame_bytes - frame.len(), 1);
    let verdict = process(&mut packet, &tables);
    let counted: u64 = tables.counters.borrow().values().sum();
    assert_eq!(counted, 1, "one reason for one frame");
    (verdict, packet.frame().to_vec())
}

/// What a sound frame is made of.
#[derive(Clone, Debug)]
struct Recipe {
    outer_v4: bool,
    inner_v4: bool,
    /// 0: IP in IP; 1: GUE with header; 2: without.
    carrier: u8,
    tags: Vec<bool>,
    payload: Vec<u8>,
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let tags = proptest::collection::vec(any::<bool>(), 0..3);
    let payload = proptest::collection::vec(any::<u8>(), 0..64);
    (any::<bool>(), any::<bool>(), 0..3_u8, tags, payload).prop_map(
        |(outer_v4, inner_v4, carrier, tags, payload)| Recipe { outer_v4, inner_v4, carrier, tags, payload },
    )
}

impl Recipe {
    fn inner(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.inner_v4 {
            let builder = PacketBuilder::ipv4([198, 51, 100, 7], VIP_V4, 61).udp(40_000, 80);
            builder.write(&mut bytes, &self.payload).expect("a short packet");
        } else {
            let builder = PacketBuilder::ipv6(END_V6, VIP_V6, 61).udp(40_000, 80);
            builder.write(&mut bytes, &self.payload).expect("a short packet");
        }
        bytes
    }

    fn link(&self, last: EtherType) -> Vec<u8> {
        let types: Vec<EtherType> = self
            .tags
            .iter()
            .map(|service| if *service { EtherType::PROVIDER_BRIDGING } else { EtherType::VLAN_TAGGED_FRAME })
            .chain([last])
            .collect();
        let ethernet = Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type: types[0] };
        let mut bytes = ethernet.to_bytes().to_vec();
        for (id, next) in (100..).zip(&types[1..]) {
            let tag = SingleVlanHeader {
                pcp: VlanPcp::ZERO,
                drop_eligible_indicator: false,
                vlan_id: VlanId::try_new(id).expect("twelve bits"),
                ether_type: *next,
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    fn frame(&self) -> Vec<u8> {
        let inner = self.inner();
        let number = if self.inner_v4 { 4 } else { 41 };
        let payload = if self.carrier == 1 { [&[0, number, 0, 0], inner.as_slice()].concat() } else { inner };
        let mut frame = self.link(if self.outer_v4 { EtherType::IPV4 } else { EtherType::IPV6 });
        let builder = if self.outer_v4 {
            PacketBuilder::ipv4([10, 0, 0, 2], END_V4, 64)
        } else {
            PacketBuilder::ipv6(VIP_V6, END_V6, 64)
        };
        if self.carrier == 0 {
            builder.write(&mut frame, number.into(), &payload).expect("a short packet");
        } else {
            builder.udp(50_000, 6_080).write(&mut frame, &payload).expect("a short packet");
        }
        frame
    }
}

/// What holds for every frame, whatever is in it.
fn check(frame: &[u8]) -> DecapVerdict {
    let (verdict, out) = run(frame, frame.len());
    if !matches!(verdict, DecapVerdict::Deliver(_)) {
        assert_eq!(out, frame, "what is not delivered is untouched");
        return verdict;
    }
    let link = link_len(frame);
    let gone = frame.len() - out.len();
    assert!((20..=72).contains(&gone), "an outer header of {gone} bytes");
    assert_eq!(out[..link - 2], frame[..link - 2], "addresses and tags stay");
    let (was, is) = (&frame[link + gone..], &out[link..]);
    let (ether_type, destination, length) = match is[0] >> 4 {
        4 => ([8, 0], is[16..20] == VIP_V4, usize::from(u16::from_be_bytes([is[2], is[3]]))),
        6 => ([0x86, 0xdd], is[24..40] == VIP_V6, 40 + usize::from(u16::from_be_bytes([is[4], is[5]]))),
        version => panic!("version {version} was delivered"),
    };
    assert_eq!(out[link - 2..link], ether_type);
    assert!(destination, "only VIPs are delivered");
    assert!(length <= is.len(), "only whole packets are delivered");
    let differ: Vec<usize> = (0..is.len()).filter(|at| was[*at] != is[*at]).collect();
    // ECN, with IPv4's checksum.
    let may_differ: &[usize] = if is[0] >> 4 == 4 { &[1, 10, 11] } else { &[1] };
    assert!(differ.iter().all(|at| may_differ.contains(at)), "bytes {differ:?} of the inner packet changed");
    verdict
}

fn link_len(frame: &[u8]) -> usize {
    let is_tag = |at: usize| matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]);
    match (is_tag(12), frame.len() > 18 && is_tag(16)) {
        (false, _) => 14,
        (true, false) => 18,
        (true, true) => 22,
    }
}

/// Bytes to overwrite in the headers, and whether an outer IPv4 checksum is made right again.
fn damage() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, bool)> {
    (proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<bool>())
}

fn repair(frame: &mut [u8]) {
    let link = link_len(frame);
    if frame[link - 2..link] != [8, 0] {
        return;
    }
    if let Ok((header, _)) = etherparse::Ipv4Header::from_slice(&frame[link..]) {
        frame[link + 10..link + 12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_sound_tunnel_is_delivered_whole(recipe in recipes()) {
        let (verdict, out) = run(&recipe.frame(), recipe.frame().len());
        let gue = recipe.carrier != 0;
        let reason = DecapReason::of_tunnel(gue, recipe.outer_v4, recipe.inner_v4);
        prop_assert_eq!(verdict, DecapVerdict::Deliver(reason));
        let ether_type = if recipe.inner_v4 { EtherType::IPV4 } else { EtherType::IPV6 };
        prop_assert_eq!(out, [recipe.link(ether_type), recipe.inner()].concat());
    }

    #[test]
    fn random_bytes_do_no_harm(
        mut frame in proptest::collection::vec(any::<u8>(), 0..200),
        ether_type in prop_oneof![
            Just([8_u8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), Just([0x88, 0xa8]), any::<[u8; 2]>()
        ],
    ) {
        if let Some(place) = frame.get_mut(12..14) {
            place.copy_from_slice(&ether_type);
        }
        check(&frame);
    }

    #[test]
    fn damaged_headers_do_no_harm(recipe in recipes(), (bytes, repaired) in damage()) {
        let mut frame = recipe.frame();
        let headers = frame.len().min(HEADERS_BYTES);
        for (at, byte) in &bytes {
            frame[at.index(headers)] = *byte;
        }
        if repaired {
            repair(&mut frame);
        }
        check(&frame);
    }

    #[test]
    fn a_damaged_inner_packet_does_no_harm(
        recipe in recipes(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let (mut frame, inner) = (recipe.frame(), recipe.inner().len());
        let start = frame.len() - inner;
        frame[start + at.index(inner.min(40))] = byte;
        check(&frame);
    }

    #[test]
    fn a_frame_cut_anywhere_is_passed_as_malformed(recipe in recipes()) {
        let frame = recipe.frame();
        for cut in 0..frame.len() {
            prop_assert_eq!(check(&frame[..cut]), DecapVerdict::Pass(DecapReason::Malformed), "cut at {}", cut);
        }
    }

    #[test]
    fn a_frame_in_pieces_is_delivered_if_its_headers_are_in_the_first(recipe in recipes()) {
        let frame = recipe.frame();
        let (headers, inner) = (if recipe.inner_v4 { 20 } else { 40 }, recipe.inner().len());
        let start = frame.len() - inner;
        for piece in 0..frame.len() {
            let (verdict, out) = run(&frame[..piece], frame.len());
            if piece >= start + headers {
                prop_assert!(matches!(verdict, DecapVerdict::Deliver(_)), "a piece of {} bytes", piece);
            } else {
                prop_assert!(!matches!(verdict, DecapVerdict::Deliver(_)), "a piece of {} bytes", piece);
                prop_assert_eq!(&out[..], &frame[..piece]);
            }
        }
        prop_assert_eq!(run(&frame[..start], frame.len()).0, DecapVerdict::Drop(DecapReason::HeadersSplit));
    }
}
