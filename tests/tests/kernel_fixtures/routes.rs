//! The node's routing table, so that the kernel answers what the fixtures' world says.

use anyhow::{Context as _, ensure};
use lb_tests::fixtures::{EGRESS, NARROW_BYTES, NODE_MAC, Reach, VLAN, World, neighbour_mac};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Interface of the index [`EGRESS`].
const EGRESS_NAME: &str = "fx0";

/// Interface of the index of [`VLAN`]: the kernel here has no VLAN devices, and the datapath asks only for the index.
const TAGGED_NAME: &str = "fx2";

/// Makes interfaces, routes and neighbours in this thread's network namespace, and switches forwarding on.
pub fn set_up(world: &World) -> anyhow::Result<()> {
    let mut batch = format!(
        "link set dev lo up\n\
         link add name {EGRESS_NAME} index {EGRESS} address {} type veth peer name fx1\n\
         link set dev {EGRESS_NAME} up\n\
         link set dev fx1 up\n\
         link add name {TAGGED_NAME} index {} address {} type veth peer name fx3\n\
         link set dev {TAGGED_NAME} up\n\
         link set dev fx3 up\n",
        mac(NODE_MAC),
        VLAN.0,
        mac(NODE_MAC)
    );
    for (ip, reach) in &world.routes {
        add(&mut batch, *ip, *reach)?;
    }
    ip_batch(&batch)?;
    for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{switch}");
        std::fs::write(&path, "1").with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

/// The lines of one address.
fn add(batch: &mut String, ip: IpAddr, reach: Reach) -> std::fmt::Result {
    let neighbour =
        format!("neigh add {ip} lladdr {} dev {EGRESS_NAME} nud permanent", mac(neighbour_mac(ip)));
    match reach {
        Reach::Neighbour => writeln!(batch, "route add {ip} dev {EGRESS_NAME}\n{neighbour}"),
        Reach::Unknown => writeln!(batch, "route add {ip} dev {EGRESS_NAME}"),
        Reach::Node => writeln!(batch, "addr add {ip} dev lo"),
        Reach::Nothing => Ok(()),
        Reach::Blackhole => writeln!(batch, "route add blackhole {ip}"),
        Reach::Tagged => {
            let mac = mac(neighbour_mac(ip));
            writeln!(batch, "route add {ip} dev {TAGGED_NAME}")?;
            writeln!(batch, "neigh add {ip} lladdr {mac} dev {TAGGED_NAME} nud permanent")
        }
        // Unlocked, the metric is only a hint: the kernel forwards by the interface's MTU.
        Reach::Narrow => {
            writeln!(batch, "route add {ip} dev {EGRESS_NAME} mtu lock {NARROW_BYTES}\n{neighbour}")
        }
    }
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Runs `ip -batch`, which stops at the first line that fails.
fn ip_batch(lines: &str) -> anyhow::Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip (Debian package iproute2)")?;
    ip.stdin.take().context("ip's stdin")?.write_all(lines.as_bytes())?;
    let output = ip.wait_with_output()?;
    ensure!(output.status.success(), "ip -batch: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
