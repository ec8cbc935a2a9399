//! What is in the kernel, asked without any code of ours, and a program of somebody else.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::Host;
use lb_tests::xdp::{self, Instruction};
use serde_json::Value;

/// Name of the program of somebody else.
pub const FOREIGN_NAME: &str = "firewall";

/// `r0 = XDP_PASS; exit` (RFC 9669).
const PASS: [Instruction; 2] = [
    Instruction { code: 0xb7, registers: 0, offset: 0, constant: 2 },
    Instruction { code: 0x95, registers: 0, offset: 0, constant: 0 },
];

/// Puts somebody else's XDP program on an interface, for as long as the result lives.
pub fn attach_foreign(host: &Host, interface: &str) -> Result<OwnedFd> {
    let index = interface_json(host, interface)?["ifindex"].as_u64().context("no index")?;
    host.enter(|| xdp::attach(&PASS, FOREIGN_NAME, index.try_into()?))?
}

fn interface_json(host: &Host, interface: &str) -> Result<Value> {
    let text = host.ip(&format!("-json -details link show dev {interface}"))?;
    let all: Value = serde_json::from_str(&text)?;
    Ok(all[0].clone())
}

/// Id of the XDP program on an interface.
pub fn program_id(host: &Host, interface: &str) -> Result<Option<u64>> {
    Ok(interface_json(host, interface)?["xdp"]["prog"]["id"].as_u64())
}

/// Addresses of an interface, without prefix lengths.
pub fn addresses(host: &Host, interface: &str) -> Result<Vec<String>> {
    let text = host.ip(&format!("-json address show dev {interface}"))?;
    let all: Value = serde_json::from_str(&text)?;
    let addresses = all[0]["addr_info"].as_array().cloned().unwrap_or_default();
    Ok(addresses.iter().filter_map(|address| Some(address["local"].as_str()?.to_owned())).collect())
}

/// Every pin under a directory, sorted; none when there is no such directory.
pub fn pins(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pins(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The pin of an interface's link.
pub fn link_pin(directory: &Path, interface: &str) -> Result<PathBuf> {
    let name = format!("link-{interface}");
    let mut all = pins(directory)?.into_iter();
    all.find(|pin| pin.ends_with(&name)).with_context(|| format!("no {name} under {}", directory.display()))
}

/// The kernel's id of what is pinned. `kind` is `map` or `link`.
pub fn id_of_pin(kind: &str, pin: &Path) -> Result<u32> {
    let mut command = Command::new("bpftool");
    command.args(["-j", kind, "show", "pinned"]).arg(pin);
    let output = command.output().context("running bpftool")?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stdout));
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    let id = shown["id"].as_u64().with_context(|| format!("{}: {shown}", pin.display()))?;
    Ok(id.try_into()?)
}
