//! Paths that take less than 1,500 bytes: path MTU discovery works in every mode.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::hosts::{own_vip, start_web, take_frames_sent_back};
use lb_tests::http;
use lb_tests::lab::{End, Host};
use lb_tests::site::{HTTP_PORT, Mode, NODE_BACK, NODE_FRONT, start_server};
use lb_tests::upload::upload;

use super::configuration::{SNAT, Served, full_nat, gue, serve};
use crate::bed::{Bed, all_vips};
use crate::decap;

/// The narrow place.
const NARROW_BYTES: u32 = 1_400;

/// Two megabytes.
const DOWNLOAD: &str = "/bytes/2000000";

/// A bit more than one megabyte, in chunks of 16 KiB.
const UPLOAD_CHUNKS: usize = 64;

/// Time for a transfer: a lost packet is repeated, a black hole lasts.
const TIMEOUT: Duration = Duration::from_secs(8);

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| text.to_owned())
}

fn transfer(client: &Host, vip: IpAddr) -> Result<()> {
    let server = SocketAddr::new(vip, HTTP_PORT);
    let response = client
        .enter(|| http::get(server, DOWNLOAD, None, TIMEOUT))?
        .with_context(|| format!("download from {vip}"))?;
    ensure!(response.status == 200, "{vip}: {}", response.status);
    upload(client, vip, UPLOAD_CHUNKS, TIMEOUT).with_context(|| format!("upload to {vip}"))
}

/// The largest packet that a host believes a path to take, if it learned that.
fn learned_mtu(host: &Host, destination: IpAddr) -> Result<Option<u32>> {
    let shown = host.ip(&format!("route get {destination}"))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).map(|mtu| mtu.parse().context("mtu")).transpose()
}

/// client ── 1,500 ── mid ── 1,400 ── edge
fn client_behind_a_narrow_link(bed: &Bed) -> Result<Host> {
    let fleet = &bed.fleet;
    let (client, mid) = (fleet.lab.host("pclient")?, fleet.lab.router("mid")?);
    fleet.lab.link(
        End::new(&client, "eth0").address("198.51.102.10/24").address("2001:db8:102::10/64"),
        End::new(&mid, "wide").address("198.51.102.1/24").address("2001:db8:102::1/64"),
    )?;
    fleet.lab.link(
        End::new(&mid, "narrow").mtu(NARROW_BYTES).address("198.51.103.2/24").address("2001:db8:103::2/64"),
        End::new(&fleet.edge, "narrow")
            .mtu(NARROW_BYTES)
            .address("198.51.103.1/24")
            .address("2001:db8:103::1/64"),
    )?;
    for gateway in ["198.51.102.1", "2001:db8:102::1"] {
        client.default_gateway(ip(gateway)?)?;
    }
    for gateway in ["198.51.103.1", "2001:db8:103::1"] {
        mid.default_gateway(ip(gateway)?)?;
    }
    fleet.edge.route("198.51.102.0/24", ip("198.51.103.2")?)?;
    fleet.edge.route("2001:db8:102::/64", ip("2001:db8:103::2")?)?;
    Ok(client)
}

#[test]
fn a_narrow_path_in_front_of_the_node_carries_downloads_and_uploads_in_every_mode() -> Result<()> {
    let bed = Bed::shared(1)?;
    let client = client_behind_a_narrow_link(&bed)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    for vip in all_vips() {
        transfer(&client, vip)?;
    }
    // The servers heard of it, from a router that knows the VIPs only.
    for address in ["198.51.102.10", "2001:db8:102::10"] {
        let learned = learned_mtu(&bed.fleet.webs[0].host, ip(address)?)?;
        ensure!(learned == Some(NARROW_BYTES), "{address}: the server believes in {learned:?}");
    }
    Ok(())
}

/// `lbd decap` instead of the lab's own end of tunnels, and services of `full-nat` and `dsr-gue` on the only web server.
fn with_other_modes(test: impl FnOnce(&Bed, &[Served<'_>]) -> Result<()>) -> Result<()> {
    let mut bed = Bed::shared(1)?;
    let web = &mut bed.fleet.webs[0];
    web.stop_tunnel_end()?;
    let _end = decap::start(&web.host, "eth0", "")?;
    let backends: [[IpAddr; 1]; 2] = [[web.v4.into()], [web.v6.into()]];
    let services: Vec<_> = full_nat(&backends, "tcp").into_iter().chain(gue(&backends)).collect();
    test(&bed, &services)
}

#[test]
fn a_narrow_path_in_front_of_the_node_carries_downloads_and_uploads_in_full_nat_and_gue() -> Result<()> {
    with_other_modes(|bed, services| {
        let client = client_behind_a_narrow_link(bed)?;
        let _lbd = serve(bed, &[NODE_FRONT, NODE_BACK], "assign", services)?;
        for service in services {
            transfer(&client, service.vip).with_context(|| service.mode.to_owned())?;
        }
        // What the router said to the VIP was about a session with an address of the node.
        for address in SNAT {
            let learned = learned_mtu(&bed.fleet.webs[0].host, ip(address)?)?;
            ensure!(learned == Some(NARROW_BYTES), "{address}: the server believes in {learned:?}");
        }
        Ok(())
    })
}

#[test]
fn a_narrow_link_behind_the_node_carries_uploads_in_full_nat_and_gue() -> Result<()> {
    with_other_modes(|bed, services| {
        let _lbd = serve(bed, &[NODE_FRONT, NODE_BACK], "assign", services)?;
        let _port = take_frames_sent_back(bed.fleet.front.host(), bed.fleet.node.name())?;
        bed.fleet.node.ip(&format!("link set dev {NODE_BACK} mtu {NARROW_BYTES}"))?;
        for Served { vip, mode, .. } in services {
            let client = &bed.fleet.client;
            upload(client, *vip, UPLOAD_CHUNKS, TIMEOUT).with_context(|| format!("upload to {vip}"))?;
            let learned = learned_mtu(client, *vip)?;
            // An IP header, and one of UDP.
            let header = match (*mode, vip.is_ipv4()) {
                ("dsr-gue", true) => 28,
                ("dsr-gue", false) => 48,
                _ => 0,
            };
            ensure!(learned == Some(NARROW_BYTES - header), "{vip}: the client believes in {learned:?}");
        }
        Ok(())
    })
}

/// The node itself has to say that a packet does not fit, with and without a tunnel's header.
#[test]
fn a_narrow_link_behind_the_node_carries_uploads_in_every_mode() -> Result<()> {
    let bed = Bed::shared(1)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let _port = take_frames_sent_back(bed.fleet.front.host(), bed.fleet.node.name())?;
    bed.fleet.node.ip(&format!("link set dev {NODE_BACK} mtu {NARROW_BYTES}"))?;
    for vip in all_vips() {
        upload(&bed.fleet.client, vip, UPLOAD_CHUNKS, TIMEOUT).with_context(|| format!("upload to {vip}"))?;
        let learned = learned_mtu(&bed.fleet.client, vip)?;
        let header = match (Mode::DsrIpip.vips().contains(&vip), vip.is_ipv4()) {
            (false, _) => 0,
            (true, true) => 20,
            (true, false) => 40,
        };
        ensure!(learned == Some(NARROW_BYTES - header), "{vip}: the client believes in {learned:?}");
    }
    Ok(())
}

fn far() -> Result<[[IpAddr; 1]; 2]> {
    Ok([[ip("10.9.0.11")?], [ip("2001:db8:9::11")?]])
}

/// back segment ── inner ── 1,400 ── outer ── 1,500 ── far
fn server_behind_a_narrow_link(bed: &Bed) -> Result<Host> {
    let fleet = &bed.fleet;
    let (inner, outer, far) =
        (fleet.lab.router("inner")?, fleet.lab.router("outer")?, fleet.lab.host("far")?);
    fleet.back.join(End::new(&inner, "out").mtu(1_600).address("10.0.0.3/24").address("2001:db8:3::3/64"))?;
    fleet.lab.link(
        End::new(&inner, "in").mtu(NARROW_BYTES).address("10.8.0.1/24").address("2001:db8:8::1/64"),
        End::new(&outer, "out").mtu(NARROW_BYTES).address("10.8.0.2/24").address("2001:db8:8::2/64"),
    )?;
    fleet.lab.link(
        End::new(&outer, "in").address("10.9.0.1/24").address("2001:db8:9::1/64"),
        End::new(&far, "eth0").address("10.9.0.11/24").address("2001:db8:9::11/64"),
    )?;
    for (family, far_network, via_inner, via_outer, node, edge, vips) in [
        ("-4", "10.9.0.0/24", "10.0.0.3", "10.8.0.2", "10.0.0.2", "10.0.0.1", "203.0.113.0/24"),
        (
            "-6",
            "2001:db8:9::/64",
            "2001:db8:3::3",
            "2001:db8:8::2",
            "2001:db8:3::2",
            "2001:db8:3::1",
            "2001:db8:2::/64",
        ),
    ] {
        fleet.node.ip(&format!("{family} route add {far_network} via {via_inner}"))?;
        inner.ip(&format!("{family} route add {far_network} via {via_outer}"))?;
        inner.ip(&format!("{family} route add default via {node}"))?;
        inner.ip(&format!("{family} rule add from {vips} lookup 100"))?;
        inner.ip(&format!("{family} route add default via {edge} table 100"))?;
        // What routers on the way complain about comes from here, and goes to the node or to clients.
        let (network, gateway) =
            if family == "-4" { ("10.8.0.0/24", "10.0.0.3") } else { ("2001:db8:8::/64", "2001:db8:3::3") };
        fleet.node.ip(&format!("{family} route add {network} via {gateway}"))?;
    }
    for gateway in ["10.8.0.1", "2001:db8:8::1"] {
        outer.default_gateway(ip(gateway)?)?;
    }
    for gateway in ["10.9.0.1", "2001:db8:9::1"] {
        far.default_gateway(ip(gateway)?)?;
    }
    for (vip, gateway) in Mode::DsrIpip.vips().into_iter().zip(["10.9.0.1", "2001:db8:9::1"]) {
        own_vip(&far, vip, ip(gateway)?)?;
    }
    Ok(far)
}

#[test]
fn a_narrow_path_between_the_node_and_servers_behind_routers_carries_downloads_and_uploads() -> Result<()> {
    let bed = Bed::shared(1)?;
    let _web = start_web(&server_behind_a_narrow_link(&bed)?)?;
    let backends = far()?;
    let mut services = Vec::new();
    for (mode, name) in [(Mode::Nat, "nat"), (Mode::DsrIpip, "dsr-ipip")] {
        services.extend(
            mode.vips().into_iter().zip(&backends).map(|(vip, backend)| Served::web(name, vip, backend)),
        );
    }
    let _lbd = serve(&bed, &[NODE_FRONT, NODE_BACK], "assign", &services)?;
    for service in &services {
        transfer(&bed.fleet.client, service.vip).with_context(|| service.mode.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_narrow_path_to_servers_behind_routers_carries_downloads_and_uploads_in_full_nat_and_gue() -> Result<()> {
    let bed = Bed::shared(1)?;
    let host = server_behind_a_narrow_link(&bed)?;
    let _server = start_server(&host, host.name())?;
    let _end = decap::start(&host, "eth0", "")?;
    let backends = far()?;
    let services: Vec<_> = full_nat(&backends, "tcp").into_iter().chain(gue(&backends)).collect();
    let _lbd = serve(&bed, &[NODE_FRONT, NODE_BACK], "assign", &services)?;
    for service in &services {
        transfer(&bed.fleet.client, service.vip).with_context(|| service.mode.to_owned())?;
    }
    Ok(())
}
