//! What changes a checksum step by step agrees with what computes it in full.

use super::oracle::{Reading, read};
use super::setting::{EGRESS, Extras, Setting, extras, frame, run, settings};
use lb_common::abi::{ForwardMode, ForwardReason};
use lb_common::pipeline::Verdict;
use proptest::prelude::*;

const ALL: &[ForwardMode] = &[ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip];
const NAT: &[ForwardMode] = &[ForwardMode::Nat];

/// A payload of two bytes that makes the UDP checksum of a datagram 0xffff: its sum is 0.
fn payload_of_sum_zero(setting: &Setting, extras: &Extras, to: std::net::SocketAddr) -> Vec<u8> {
    let sum_of = |payload: &[u8]| {
        let extras = Extras { payload: payload.to_vec(), udp_checksum: true, padding: 0, ..extras.clone() };
        read(&frame(17, setting.client, to, &extras)).transport_checksum.0
    };
    // The checksum is ~(rest + payload): with payload 0 it is ~rest, which is the payload that makes the sum -0.
    let payload = sum_of(&[0, 0]).to_be_bytes().to_vec();
    assert_eq!(sum_of(&payload), 0xffff, "the payload makes the sum 0");
    payload
}

fn check_request(setting: &Setting, extras: &Extras) -> Reading {
    let packet = frame(setting.protocol, setting.client, setting.frontend, extras);
    let (verdict, out) = run(&setting.tables(), &packet);
    assert_eq!(verdict, Verdict::Transmit(ForwardReason::Nat));
    assert_eq!(out.len(), packet.len());
    assert_eq!(out[out.len() - extras.padding..], packet[packet.len() - extras.padding..]);
    let reading = read(&out);
    assert!(reading.is_sound(setting.protocol == 17 && !extras.udp_checksum), "{reading:x?}");
    assert_eq!((reading.source, reading.destination), (setting.client, setting.target));
    assert_eq!((reading.ttl, &reading.payload), (extras.ttl - 1, &extras.payload));
    reading
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nat_leaves_right_checksums(setting in settings(NAT), extras in extras()) {
        check_request(&setting, &extras);
    }

    #[test]
    fn nat_of_a_reply_leaves_right_checksums(setting in settings(NAT), extras in extras()) {
        let packet = frame(setting.protocol, setting.target, setting.client, &extras);
        let (verdict, out) = run(&setting.tables(), &packet);
        prop_assert_eq!(verdict, Verdict::Redirect(ForwardReason::NatReply, EGRESS));
        let reading = read(&out);
        prop_assert!(reading.is_sound(setting.protocol == 17 && !extras.udp_checksum), "{:x?}", reading);
        prop_assert_eq!((reading.source, reading.destination), (setting.frontend, setting.client));
        prop_assert_eq!((reading.ttl, reading.payload), (extras.ttl - 1, extras.payload));
    }

    #[test]
    fn nat_there_and_back_restores_the_addresses(setting in settings(NAT), there in extras(), back in extras()) {
        let tables = setting.tables();
        let request = frame(setting.protocol, setting.client, setting.frontend, &there);
        let at_backend = read(&run(&tables, &request).1);
        let reply = frame(setting.protocol, at_backend.destination, at_backend.source, &back);
        let at_client = read(&run(&tables, &reply).1);
        prop_assert_eq!((at_client.source, at_client.destination), (setting.frontend, setting.client));
    }

    #[test]
    fn a_udp_sum_that_becomes_zero_is_sent_as_ffff(mut setting in settings(NAT), extras in extras()) {
        setting.protocol = 17;
        let payload = payload_of_sum_zero(&setting, &extras, setting.target);
        let extras = Extras { payload, udp_checksum: true, ..extras };
        prop_assert_eq!(check_request(&setting, &extras).transport_checksum.0, 0xffff);
    }

    #[test]
    fn a_udp_sum_that_comes_in_as_ffff_leaves_right(mut setting in settings(NAT), extras in extras()) {
        setting.protocol = 17;
        let payload = payload_of_sum_zero(&setting, &extras, setting.frontend);
        check_request(&setting, &Extras { payload, udp_checksum: true, ..extras });
    }

    #[test]
    fn an_outer_ipv4_header_has_a_right_checksum_and_the_rest_is_as_it_was(
        setting in settings(&[ForwardMode::DsrIpip]),
        extras in extras(),
    ) {
        let packet = frame(setting.protocol, setting.client, setting.frontend, &extras);
        let (verdict, out) = run(&setting.tables(), &packet);
        prop_assert_eq!(verdict, Verdict::Transmit(ForwardReason::DsrIpip));
        let outer = out.len() - packet.len();
        prop_assert_eq!(&out[14 + outer..], &packet[14..]);
        if setting.client.is_ipv4() {
            let (header, rest) = etherparse::Ipv4Header::from_slice(&out[14..]).unwrap();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            prop_assert_eq!(usize::from(header.total_len), 20 + rest.len() - extras.padding);
            prop_assert_eq!(header.dscp.value() << 2 | header.ecn.value(), extras.class);
            prop_assert_eq!(std::net::IpAddr::from(header.destination), setting.target.ip());
        } else {
            let (header, rest) = etherparse::Ipv6Header::from_slice(&out[14..]).unwrap();
            prop_assert_eq!(usize::from(header.payload_length), rest.len() - extras.padding);
            prop_assert_eq!(header.traffic_class, extras.class);
            prop_assert_eq!(std::net::IpAddr::from(header.destination), setting.target.ip());
        }
    }

    #[test]
    fn a_wrong_checksum_is_never_made_right(setting in settings(NAT), extras in extras(), error in 1..u16::MAX) {
        let mut packet = frame(setting.protocol, setting.client, setting.frontend, &extras);
        let at = packet.len() - extras.padding - extras.payload.len() - if setting.protocol == 6 { 4 } else { 2 };
        let old = u16::from_be_bytes([packet[at], packet[at + 1]]);
        // In one's complement 0 and 0xffff are one number: an error of either kind is none.
        let wrong = old.wrapping_add(error);
        prop_assume!(wrong != 0 && old != 0 && old.abs_diff(wrong) != 0xffff);
        packet[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        let (_, out) = run(&setting.tables(), &packet);
        let (is, must) = read(&out).transport_checksum;
        prop_assert_ne!(is, must);
    }

    #[test]
    fn dsr_l2_changes_nothing_but_the_macs(setting in settings(&[ForwardMode::DsrL2]), extras in extras()) {
        let packet = frame(setting.protocol, setting.client, setting.frontend, &extras);
        let (verdict, out) = run(&setting.tables(), &packet);
        prop_assert_eq!(verdict, Verdict::Transmit(ForwardReason::DsrL2));
        prop_assert_eq!(&out[12..], &packet[12..]);
    }

    #[test]
    fn what_is_no_service_of_ours_is_not_touched(setting in settings(ALL), extras in extras(), port in any::<u16>()) {
        prop_assume!(port != setting.frontend.port());
        let mut elsewhere = setting.frontend;
        elsewhere.set_port(port);
        let packet = frame(setting.protocol, setting.client, elsewhere, &extras);
        let (verdict, out) = run(&setting.tables(), &packet);
        prop_assert!(matches!(verdict, Verdict::Pass(_)));
        prop_assert_eq!(out, packet);
    }
}
