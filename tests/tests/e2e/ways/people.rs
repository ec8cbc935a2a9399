//! What people try first: ping and traceroute.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::hosts::take_frames_sent_back;
use lb_tests::lab::Host;

use crate::bed::{Bed, SOON, all_vips};

/// Kinds of traceroute: datagrams to closed ports, echo requests, SYNs to the service.
const KINDS: [&str; 3] = ["", "-I", "-T -p 80"];

/// Hops to the backend: the edge, the node, and behind it the server, which answers as the VIP.
const MOST_HOPS: usize = 3;

/// Addresses of the hops to `destination`.
fn traceroute(host: &Host, kind: &str, destination: IpAddr) -> Result<Vec<String>> {
    let mut command = Command::new("traceroute");
    command
        .args(["-n", "-q", "1", "-N", "1", "-w", "2", "-m", "8"])
        .args(kind.split_whitespace())
        .arg(destination.to_string());
    let output = host.run(command, SOON)?.success()?;
    let hops = output.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    Ok(hops.map(str::to_owned).collect())
}

/// Echo requests that the node's own stack has answered.
fn echoes(node: &Host) -> Result<u64> {
    let (v4, v6) = node.enter(|| {
        let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp");
        (v4, std::fs::read_to_string("/proc/thread-self/net/snmp6"))
    })?;
    let v4 = v4?;
    let mut rows = v4.lines().filter(|line| line.starts_with("Icmp:")).map(|line| line.split_whitespace());
    let (names, values) = (rows.next().context("Icmp:")?, rows.next().context("Icmp:")?);
    let (_, v4) = names.zip(values).find(|(name, _)| *name == "InEchos").context("InEchos")?;
    let v6 = v6?;
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")).context("Icmp6InEchos")?;
    Ok(v4.parse::<u64>()? + v6.trim().parse::<u64>()?)
}

#[test]
fn traceroute_ends_at_the_vip() -> Result<()> {
    let bed = Bed::shared(1)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let _port = take_frames_sent_back(bed.fleet.front.host(), bed.fleet.node.name())?;
    for router in [&bed.fleet.edge, &bed.fleet.node] {
        // Kernels tell a sender once a second at most that a port is closed or a time over.
        router.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        router.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    }
    for vip in all_vips() {
        for kind in KINDS {
            let hops = traceroute(&bed.fleet.client, kind, vip)?;
            let what = format!("traceroute {kind} {vip}: {hops:?}");
            ensure!(hops.last() == Some(&vip.to_string()) && hops.len() <= MOST_HOPS, "{what}");
            ensure!(!hops.iter().any(|hop| hop == "*"), "{what}");
        }
    }
    Ok(())
}

#[test]
fn vips_answer_echo_requests_without_the_stack_and_other_addresses_by_it() -> Result<()> {
    let bed = Bed::shared(1)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let (client, node) = (&bed.fleet.client, &bed.fleet.node);
    let _port = take_frames_sent_back(bed.fleet.front.host(), node.name())?;
    let before = echoes(node)?;
    for vip in all_vips() {
        client.ping(vip, Duration::from_secs(2))?;
    }
    ensure!(echoes(node)? == before, "the stack answered for a VIP");
    for own in ["203.0.113.2", "2001:db8:2::2"] {
        let before = echoes(node)?;
        client.ping(own.parse()?, Duration::from_secs(2))?;
        ensure!(echoes(node)? > before, "{own}: not the stack answered");
    }
    // An address of the VIPs' network that is nobody's.
    let nobody = IpAddr::from([203, 0, 113, 99]);
    ensure!(client.ping(nobody, Duration::from_millis(400)).is_err(), "{nobody} answers");
    Ok(())
}
