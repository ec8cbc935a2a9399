//! The site's node with a configuration of the test's own.

use std::net::IpAddr;

use anyhow::Result;
use lb_tests::configuration::{Node, text};
use lb_tests::lab::Process;
use lb_tests::site::Mode;

pub use lb_tests::configuration::Served;

use crate::bed::Bed;

/// Addresses that `full-nat` sends from, on the segment of the web servers.
pub const SNAT: [&str; 2] = ["10.0.0.60", "2001:db8:3::60"];

/// `full-nat` of web services or datagrams (`protocol`) at the VIPs of `nat`.
pub fn full_nat<'a>(backends: &'a [[IpAddr; 1]; 2], protocol: &'a str) -> [Served<'a>; 2] {
    // One of the pool's family is enough; what is of the other is a mistake.
    const KEYS: [&str; 2] = ["snat = [\"10.0.0.60\"]\n", "snat = [\"2001:db8:3::60\"]\n"];
    let [v4, v6] = Mode::Nat.vips();
    let served = |vip, backends, keys| Served { protocol, keys, ..Served::web("full-nat", vip, backends) };
    [served(v4, &backends[0], KEYS[0]), served(v6, &backends[1], KEYS[1])]
}

/// `dsr-gue` of web services at the VIPs of `dsr-ipip`.
pub fn gue(backends: &[[IpAddr; 1]; 2]) -> [Served<'_>; 2] {
    let [v4, v6] = Mode::DsrIpip.vips();
    [Served::web("dsr-gue", v4, &backends[0]), Served::web("dsr-gue", v6, &backends[1])]
}

/// Serves these, without health checks, on these interfaces.
pub fn serve(bed: &Bed, interfaces: &[&str], vips: &str, services: &[Served<'_>]) -> Result<Process> {
    let node = Node { interfaces, vips, bpffs: &bed.bpffs, socket: &bed.socket };
    bed.write(&text(&node, services))?;
    bed.start()
}
