//! Hosts that tests make beside or without a site: VLAN interfaces, web servers, VIPs of their own.
//!
//! Imports `bins`, `lab`, `site`, `xdp` and `programs` (for what they print).

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use crate::bins;
use crate::lab::{Host, Process};
use crate::programs::decap;
use crate::site::start_server;
use crate::xdp::{self, Instruction};
use anyhow::{Context, Result};

/// Time that a program has to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Routing table for what is sent from a VIP.
const DIRECT_TABLE: u32 = 100;

/// Makes a VLAN interface `PARENT.ID` with these addresses; returns its name.
///
/// # Errors
/// When the kernel has no VLAN interfaces, or this one exists.
pub fn vlan(host: &Host, parent: &str, id: u16, protocol: &str, addresses: &[&str]) -> Result<String> {
    let name = format!("{parent}.{id}");
    host.ip(&format!("link add link {parent} name {name} type vlan protocol {protocol} id {id}"))?;
    for address in addresses {
        host.address(&name, address)?;
    }
    host.ip(&format!("link set dev {name} up"))?;
    Ok(name)
}

/// `r0 = XDP_PASS; exit` (RFC 9669).
const PASS: [Instruction; 2] = [
    Instruction { code: 0xb7, registers: 0, offset: 0, constant: 2 },
    Instruction { code: 0x95, registers: 0, offset: 0, constant: 0 },
];

/// Makes an interface take at once what the other end of its link sends back by `XDP_TX`, for as long as the result lives:
/// veth wakes a receiver for such frames only if that has a program of its own (`veth_xdp_flush`); else they wait for the
/// next frame that comes another way.
///
/// # Errors
/// When there is no such interface, or it has a program.
pub fn take_frames_sent_back(host: &Host, interface: &str) -> Result<OwnedFd> {
    let shown = host.ip(&format!("-oneline link show dev {interface}"))?;
    let index = shown.split(':').next().unwrap_or_default().trim();
    let index = index.parse().with_context(|| format!("no index in {shown:?}"))?;
    host.enter(|| xdp::attach(&PASS, "pass", index))?
}

/// A web server's programs; ended when dropped.
pub struct Web {
    _server: Process,
    _decap: Process,
}

/// Starts a web server and a tunnel's end in a host.
///
/// # Errors
/// When `lb-lab` is not built or does not start.
pub fn start_web(host: &Host) -> Result<Web> {
    let server = start_server(host, host.name())?;
    let mut command = Command::new(bins::lb_lab()?);
    command.arg("decap");
    let decap = host.spawn(command)?;
    decap.wait_for_output(decap::READY, START_TIMEOUT)?;
    Ok(Web { _server: server, _decap: decap })
}

/// Lets a host answer for VIPs of its own, whose packets go to `gateway` directly.
///
/// # Errors
/// When the host has the VIP, or the gateway is on none of its links.
pub fn own_vip(host: &Host, vip: IpAddr, gateway: IpAddr) -> Result<()> {
    host.hide_loopback_addresses()?;
    let (family, bits) = if vip.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
    host.address("lo", &format!("{vip}/{bits}"))?;
    host.ip(&format!("{family} rule add from {vip}/{bits} lookup {DIRECT_TABLE}"))?;
    host.ip(&format!("{family} route replace default via {gateway} table {DIRECT_TABLE}"))?;
    Ok(())
}
