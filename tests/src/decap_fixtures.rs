//! One table of frames for decapsulation: each is a sentence, a frame in, the reason, the frame out.
//!
//! Role: what `lbd decap` has to do, said once; host and kernel run the same table. Imports lb-common (reasons and keys),
//! etherparse, and `fixtures` for the inner packets. Always holds: frames are built by etherparse with all checksums
//! computed in full, and nothing expected is computed by the code that is tested.

mod build;
mod delivered;
mod dropped;
mod passed;

pub use build::{Carrier, Envelope, Family, OUTER_SOURCE_V4, OUTER_SOURCE_V6, inner_udp};

use lb_common::decap::{DecapReason, DecapVerdict, MemDecapTables, PrefixKey, process};
use lb_common::wire::BufferPacket;
use std::net::IpAddr;

/// The addresses that tunnels end at.
pub const ENDS: [&str; 2] = ["10.0.0.11", "2001:db8:3::11"];
/// The VIPs: address and length.
pub const VIPS: [(&str, u8); 4] =
    [("203.0.113.10", 32), ("203.0.114.0", 28), ("2001:db8::10", 128), ("2001:db8:77::", 48)];
/// Where tunnels may start, when that is restricted.
pub const SOURCES: [(&str, u8); 3] = [("10.0.0.2", 32), ("10.9.0.0", 16), ("2001:db8:3::", 112)];

/// Index of the interface in host runs.
const INGRESS: u32 = 7;

/// Shortest frame that `BPF_PROG_TEST_RUN` takes: an Ethernet header.
const SHORTEST_TEST_RUN_BYTES: usize = 14;
/// Longest frame that it takes in one piece: a page less head room and the end of an skb, with room to spare.
const LONGEST_ONE_PIECE_BYTES: usize = 3_000;

/// Where tunnels may start in a fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sources {
    /// Anywhere.
    Any,
    /// From [`SOURCES`].
    Some,
}

/// One fixture.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What it shows, as a sentence; unique.
    pub name: String,
    /// Where tunnels may start.
    pub sources: Sources,
    /// The frame that comes in.
    pub packet: Vec<u8>,
    /// What has to be decided.
    pub reason: DecapReason,
    /// The frame afterwards.
    pub expected: Vec<u8>,
}

impl Fixture {
    /// A frame that comes out changed.
    fn changed(name: impl Into<String>, packet: Vec<u8>, reason: DecapReason, expected: Vec<u8>) -> Self {
        Self { name: name.into(), sources: Sources::Any, packet, reason, expected }
    }

    /// A frame that is left as it is, whether it is passed or dropped.
    fn left_alone(name: impl Into<String>, packet: Vec<u8>, reason: DecapReason) -> Self {
        Self::changed(name, packet.clone(), reason, packet)
    }

    /// With restricted sources.
    fn restricted(self) -> Self {
        Self { sources: Sources::Some, ..self }
    }

    /// Whether the kernel's test run takes it in one piece.
    pub fn fits_one_piece(&self) -> bool {
        (SHORTEST_TEST_RUN_BYTES..=LONGEST_ONE_PIECE_BYTES).contains(&self.packet.len())
    }

    /// Whether the kernel's test run takes it, in one piece or in several.
    pub fn fits_test_run(&self) -> bool {
        self.packet.len() >= SHORTEST_TEST_RUN_BYTES
    }
}

/// Every fixture.
pub fn all() -> Vec<Fixture> {
    [delivered::fixtures(), dropped::fixtures(), passed::fixtures()].concat()
}

/// The tables of the fixtures' machine.
///
/// # Panics
/// When an address above is no address.
pub fn tables(sources: Sources) -> MemDecapTables {
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let prefixes = |list: &[(&str, u8)]| -> Vec<PrefixKey> {
        list.iter().map(|(text, length)| PrefixKey::new(ip(text), *length).expect("a prefix")).collect()
    };
    MemDecapTables {
        ends: ENDS.iter().map(|text| lb_common::abi::address(ip(text))).collect(),
        vips: prefixes(&VIPS),
        sources: (sources == Sources::Some).then(|| prefixes(&SOURCES)),
        ..MemDecapTables::default()
    }
}

/// Runs a frame over tables in memory: the verdict, and the frame afterwards.
pub fn run_on_host(packet: &[u8], tables: &MemDecapTables) -> (DecapVerdict, Vec<u8>) {
    let mut buffer = BufferPacket::new(packet, INGRESS);
    let verdict = process(&mut buffer, tables);
    (verdict, buffer.frame().to_vec())
}
