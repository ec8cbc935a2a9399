//! Parts of configurations.

use std::net::IpAddr;

use anyhow::{Context, Result};
use lb_tests::site::{Mode, Web};

use crate::bed::Bed;

/// Port of the servers of a test's own that are asked.
pub const CHECK_PORT: u16 = 9_000;

/// What the configuration of a bed says of its node.
pub fn node(bed: &Bed) -> Result<String> {
    let text = bed.text()?;
    let (node, _) = text.split_once("\n[checks.").context("no check in the configuration")?;
    Ok(node.to_owned())
}

/// A check; `keys` is its kind and what else it says.
pub fn check(name: &str, keys: &str) -> String {
    format!("\n[checks.{name}]\n{keys}\n")
}

/// A pool of these web servers, each by its IPv4 (`true`) or IPv6 address; `keys` is what it says beside its mode and its
/// check.
pub fn pool(name: &str, mode: Mode, check: &str, keys: &str, backends: &[(&Web, bool)]) -> String {
    let line = |(web, ipv4): &(&Web, bool)| {
        let address = if *ipv4 { IpAddr::from(web.v4) } else { web.v6.into() };
        format!("    {{ name = \"{}\", address = \"{address}\" }},\n", web.host.name())
    };
    let lines = backends.iter().map(line).collect::<Vec<_>>().concat();
    let mode = mode.name();
    format!("\n[pools.{name}]\nmode = \"{mode}\"\ncheck = \"{check}\"\n{keys}backends = [\n{lines}]\n")
}

/// The service of a pool, named as it is.
pub fn service(pool: &str, vip: IpAddr, port: u16) -> String {
    format!(
        "\n[services.{pool}]\nvips = [\"{vip}\"]\nports = [{port}]\nprotocol = \"tcp\"\npool = \"{pool}\"\n"
    )
}

/// A pool in mode `nat` with IPv4 backends, and its service at a port of the VIP of that mode.
pub fn served(name: &str, port: u16, check: &str, keys: &str, webs: &[&Web]) -> String {
    let backends: Vec<(&Web, bool)> = webs.iter().map(|web| (*web, true)).collect();
    pool(name, Mode::Nat, check, keys, &backends) + &service(name, Mode::Nat.vip_v4().into(), port)
}
