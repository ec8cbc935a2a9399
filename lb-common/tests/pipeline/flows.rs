//! Which backend a flow meets: always the same one, and each in proportion to its weight.

use super::setting::{Extras, Setting, extras, frame, run, settings};
use lb_common::abi::{ForwardMode, Slot, mapped};
use lb_common::hash::{Flow, HashKey, flow_hash, slot_of};
use lb_common::maglev::{self, Member};
use lb_common::tables::MemTables;
use proptest::prelude::*;

const ALL: &[ForwardMode] = &[ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip];
/// Slots of a table, as by default.
const SLOTS: u32 = 65_537;
/// Flows to spread.
const FLOWS: u32 = 1_000_000;
/// Backends of the table that packets are run over.
const BACKENDS: u32 = 7;

fn members(weights: &[u32]) -> Vec<Member> {
    (0..)
        .zip(weights)
        .map(|(index, weight)| Member { identity: 0xb4c0_0000 + u64::from(index), index, weight: *weight })
        .collect()
}

/// A setting's tables with several backends instead of one.
fn tables_of_several(setting: &Setting) -> MemTables {
    let mut tables = setting.tables();
    tables.slots =
        maglev::build(&members(&[100; BACKENDS as usize]), 251).into_iter().map(Slot::stable).collect();
    for value in tables.services.values_mut() {
        value.slot_count = 251;
    }
    let backend = tables.backends[0];
    tables.backends = vec![backend; BACKENDS as usize];
    tables
}

/// The backend that a packet was counted for.
fn backend_of(tables: &MemTables, packet: &[u8]) -> Option<u32> {
    tables.backend_counters.borrow_mut().clear();
    run(tables, packet);
    let counters = tables.backend_counters.borrow();
    let mut counted = counters.iter().filter(|(_, counters)| counters.packets > 0);
    let first = counted.next().map(|(index, _)| *index);
    assert!(counted.next().is_none(), "one packet, one backend");
    first
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn all_packets_of_a_flow_meet_one_backend(setting in settings(ALL), one in extras(), other in extras()) {
        let tables = tables_of_several(&setting);
        let packet = |extras: &Extras| frame(setting.protocol, setting.client, setting.frontend, extras);
        let first = backend_of(&tables, &packet(&one));
        prop_assert!(first.is_some_and(|index| index < BACKENDS));
        prop_assert_eq!(first, backend_of(&tables, &packet(&other)));
    }
}

/// A flow of a million different ones: clients and ports both vary.
fn flow(number: u32, v4: bool) -> Flow {
    let host = number / 16;
    let source = if v4 {
        mapped((0x6440_0000 + host).to_be())
    } else {
        [0x2001_0db8_u32.to_be(), 0, (host >> 8).to_be(), (host << 24).to_be()]
    };
    let vip = [0x2001_0db8_u32.to_be(), 0, 0, 0x10_u32.to_be()];
    let [_, _, low, high] = (number % 16 * 3 + 32_768).to_be_bytes();
    Flow {
        source,
        destination: if v4 { mapped(0xcb00_710a_u32.to_be()) } else { vip },
        source_port: u16::from_ne_bytes([low, high]),
        destination_port: 443_u16.to_be(),
        protocol: 6,
    }
}

/// Share of each backend of a million flows, compared with its weight's share.
fn check_shares(weights: &[u32], key: HashKey, v4: bool) {
    let table = maglev::build(&members(weights), SLOTS);
    let mut flows = vec![0_u32; weights.len()];
    for number in 0..FLOWS {
        let slot = slot_of(flow_hash(key, &flow(number, v4), v4), SLOTS);
        flows[table[slot as usize] as usize] += 1;
    }
    let total: u32 = weights.iter().sum();
    for (index, (got, weight)) in flows.iter().zip(weights).enumerate() {
        let wanted = f64::from(FLOWS) * f64::from(*weight) / f64::from(total);
        let off = (f64::from(*got) - wanted).abs() / wanted;
        assert!(
            off <= 0.02,
            "backend {index} of weights {weights:?} got {got} flows instead of {wanted:.0}, {:.2} % off",
            off * 100.0
        );
    }
}

#[test]
fn a_million_flows_follow_the_weights() {
    let sets: [&[u32]; 6] = [
        &[100; 3],
        &[100; 20],
        &[1, 2, 3, 4],
        &[100, 100, 100, 50],
        &[1000, 1000, 500, 500, 250, 250],
        &[50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140],
    ];
    let keys =
        [HashKey(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210), HashKey(0x9e1d, 0x55aa_55aa_0000_0001)];
    for weights in sets {
        for key in keys {
            check_shares(weights, key, true);
            check_shares(weights, key, false);
        }
    }
}
