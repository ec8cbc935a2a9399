//! Web servers behind routers.
//!
//! ```text
//!   back segment ── .3 inner1 .3 ──┐
//!                                  ├── 10.9.0.0/24, 2001:db8:9::/64 ── .11 far
//!   back segment ── .4 inner2 .4 ──┘
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lb_tests::hosts::{Web, own_vip, start_web};
use lb_tests::http;
use lb_tests::lab::{Bridge, End, Host, Link, wait_until};
use lb_tests::site::{HTTP_PORT, Mode, NODE_BACK, NODE_FRONT};
use lb_tests::upload::upload;

use super::configuration::{Served, serve};
use crate::bed::{Bed, SOON};

/// Room for a tunnel's header.
const MTU_BYTES: u32 = 1_600;

/// Chunks of 16 KiB that are sent to a VIP.
const UPLOAD_CHUNKS: usize = 32;

/// The far server's own addresses.
const FAR: [&str; 2] = ["10.9.0.11", "2001:db8:9::11"];

/// What the routes of the far network look like, by family.
const FAR_NETWORKS: [(&str, &str); 2] = [("-4", "10.9.0.0/24"), ("-6", "2001:db8:9::/64")];

struct Far {
    bed: Bed,
    server: Host,
    /// Routers, and their links to the back segment.
    inner: Vec<(Host, Link)>,
    _segment: Bridge,
    _web: Web,
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| text.to_owned())
}

/// Gateways on the back segment by family: what `inner1` and `inner2` are for the node.
fn gateways(number: usize) -> [String; 2] {
    [format!("10.0.0.{}", number + 2), format!("2001:db8:3::{}", number + 2)]
}

fn site(routers: usize) -> Result<Far> {
    let bed = Bed::shared(1)?;
    let fleet = &bed.fleet;
    let segment = fleet.lab.bridge("far_segment")?;
    let far = fleet.lab.host("far")?;
    let addresses = FAR.map(|address| format!("{address}/{}", if address.contains(':') { 64 } else { 24 }));
    segment.join(End::new(&far, "eth0").mtu(MTU_BYTES).address(&addresses[0]).address(&addresses[1]))?;
    let mut inner = Vec::new();
    for number in 1..=routers {
        let router = fleet.lab.router(&format!("inner{number}"))?;
        let last = number + 2;
        let end = |interface, v4: String, v6: String| {
            End::new(&router, interface).mtu(MTU_BYTES).address(&v4).address(&v6)
        };
        let link =
            fleet.back.join(end("out", format!("10.0.0.{last}/24"), format!("2001:db8:3::{last}/64")))?;
        segment.join(end("in", format!("10.9.0.{last}/24"), format!("2001:db8:9::{last}/64")))?;
        // Answers go to the node; those from a VIP to the edge, for the node would take them for its own.
        for ((family, node, edge), vip) in
            [("-4", "10.0.0.2", "10.0.0.1"), ("-6", "2001:db8:3::2", "2001:db8:3::1")]
                .into_iter()
                .zip(Mode::DsrIpip.vips())
        {
            router.ip(&format!("{family} route add default via {node}"))?;
            router.ip(&format!("{family} rule add from {vip} lookup 100"))?;
            router.ip(&format!("{family} route add default via {edge} table 100"))?;
        }
        inner.push((router, link));
    }
    let web = start_web(&far)?;
    Ok(Far { bed, server: far, inner, _segment: segment, _web: web })
}

/// The far server sends by the router of this number.
fn send_by(far: &Host, number: usize) -> Result<()> {
    for (family, gateway) in
        [("-4", format!("10.9.0.{}", number + 2)), ("-6", format!("2001:db8:9::{}", number + 2))]
    {
        far.ip(&format!("{family} route replace default via {gateway}"))?;
    }
    Ok(())
}

fn get(host: &Host, vip: IpAddr, path: &str) -> Result<http::Response> {
    host.enter(|| http::get(SocketAddr::new(vip, HTTP_PORT), path, None, SOON))?
}

#[test]
fn backends_behind_a_router_and_clients_on_link_and_behind_a_gateway() -> Result<()> {
    let site = site(1)?;
    let fleet = &site.bed.fleet;
    send_by(&site.server, 1)?;
    for ((family, network), gateway) in FAR_NETWORKS.iter().zip(gateways(1)) {
        fleet.node.ip(&format!("{family} route add {network} via {gateway}"))?;
    }
    for (vip, gateway) in Mode::DsrIpip.vips().into_iter().zip(["10.9.0.3", "2001:db8:9::3"]) {
        own_vip(&site.server, vip, ip(gateway)?)?;
    }
    let near = fleet.lab.host("near")?;
    fleet.front.join(End::new(&near, "eth0").address("203.0.113.50/24").address("2001:db8:2::50/64"))?;
    let backends = [[ip(FAR[0])?], [ip(FAR[1])?]];
    let mut services = Vec::new();
    for (mode, name) in [(Mode::Nat, "nat"), (Mode::DsrIpip, "dsr-ipip")] {
        services.extend(
            mode.vips().into_iter().zip(&backends).map(|(vip, backend)| Served::web(name, vip, backend)),
        );
    }
    let _lbd = serve(&site.bed, &[NODE_FRONT, NODE_BACK], "assign", &services)?;
    for client in [&fleet.client, &near] {
        for service in &services {
            let what = || format!("{} to {} from {}", service.mode, service.vip, client.name());
            let response = get(client, service.vip, "/bytes/1000000").with_context(what)?;
            ensure!(response.backend.as_deref() == Some("far"), "{}: {:?}", what(), response.backend);
            upload(client, service.vip, UPLOAD_CHUNKS, SOON).with_context(what)?;
        }
    }
    Ok(())
}

/// Of two equal routers the one that is used dies, without the node losing its link.
#[test]
fn of_two_routers_to_the_backends_one_may_die() -> Result<()> {
    let site = site(2)?;
    let fleet = &site.bed.fleet;
    // Without it the kernel goes on using a next hop that does not answer (docs/ways.md).
    fleet.node.sysctl("net/ipv4/fib_multipath_use_neigh", "1")?;
    let (one, two) = (gateways(1), gateways(2));
    for (at, (family, network)) in FAR_NETWORKS.iter().enumerate() {
        fleet.node.ip(&format!(
            "{family} route add {network} nexthop via {} dev {NODE_BACK} nexthop via {} dev {NODE_BACK}",
            one[at], two[at]
        ))?;
    }
    for version in ["ipv4", "ipv6"] {
        // A silent neighbour is given up after half a second and not after three.
        fleet.node.sysctl(&format!("net/{version}/neigh/{NODE_BACK}/retrans_time_ms"), "150")?;
    }
    let backends = [[ip(FAR[0])?], [ip(FAR[1])?]];
    let vips = Mode::Nat.vips();
    let services: Vec<_> =
        vips.into_iter().zip(&backends).map(|(vip, backend)| Served::web("nat", vip, backend)).collect();
    for (at, vip) in vips.into_iter().enumerate() {
        let used = used_gateway(&fleet.node, FAR[at])?;
        let (dying, other) = if used == one[at] { (1, 2) } else { (2, 1) };
        ensure!(used == gateways(dying)[at], "{vip} is reached by {used}");
        send_by(&site.server, other)?;
        let lbd = serve(&site.bed, &[NODE_FRONT, NODE_BACK], "assign", &services)?;
        get(&fleet.client, vip, "/")?;
        let link = &site.inner[dying - 1].1;
        let died = Instant::now();
        link.cut()?;
        let timeout = SOON / 20;
        wait_until(&format!("{vip} is served by the other router"), SOON, || {
            let server = SocketAddr::new(vip, HTTP_PORT);
            Ok(fleet.client.enter(|| http::get(server, "/", None, timeout))?.ok())
        })?;
        println!("{vip}: {:?} from the router's death to the next answer", died.elapsed());
        link.restore()?;
        lbd.terminate()?;
    }
    Ok(())
}

fn used_gateway(node: &Host, destination: &str) -> Result<String> {
    let shown = node.ip(&format!("route get {destination}"))?;
    let mut words = shown.split_whitespace().skip_while(|word| *word != "via");
    words.nth(1).map(str::to_owned).with_context(|| shown.clone())
}
