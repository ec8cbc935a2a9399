//! One interface, several VLANs: clients in one, web servers in another.
//!
//! ```text
//!   trunk (a switch that passes tags): client (VLAN 100), edge (100 and 200), web (200), node (all), far (802.1ad 300 / 100)
//! ```

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lb_tests::http;
use lb_tests::lab::{End, Host};
use lb_tests::site::HTTP_PORT;

use super::configuration::{Served, serve};
use super::hosts::{Web, own_vip, start_web, vlan};
use super::http_upload::upload;
use crate::bed::{Bed, SOON};

/// Interface of every host on the trunk.
const TRUNK: &str = "trunk";

/// Chunks of 16 KiB that are sent to a VIP.
const UPLOAD_CHUNKS: usize = 64;

/// What the test asks for by download.
const DOWNLOAD: &str = "/bytes/1000000";

struct Trunk {
    bed: Bed,
    client: Host,
    far: Host,
    _web: Web,
}

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| text.to_owned())
}

fn site() -> Result<Trunk> {
    let bed = Bed::shared(1)?;
    let lab = &bed.fleet.lab;
    let switch = lab.bridge("tags")?;
    let (client, web, edge, far) =
        (lab.host("tclient")?, lab.host("tweb")?, lab.router("tedge")?, lab.host("far")?);
    for host in [&client, &web, &edge, &far, &bed.fleet.node] {
        // Room for a second tag, as on a real trunk.
        switch.join(End::new(host, TRUNK).mtu(1_504))?;
    }
    let customer = |host: &Host, id, addresses: &[&str]| vlan(host, TRUNK, id, "802.1Q", addresses);
    customer(&client, 100, &["10.100.0.10/24", "2001:db8:100::10/64"])?;
    customer(&edge, 100, &["10.100.0.2/24", "2001:db8:100::2/64"])?;
    customer(&edge, 200, &["10.200.0.2/24", "2001:db8:200::2/64"])?;
    customer(&web, 200, &["10.200.0.11/24", "2001:db8:200::11/64"])?;
    let node = &bed.fleet.node;
    customer(node, 100, &["10.100.0.1/24", "2001:db8:100::1/64"])?;
    customer(node, 200, &["10.200.0.1/24", "2001:db8:200::1/64"])?;
    for (host, last) in [(node, 1), (&far, 10)] {
        let provider = vlan(host, TRUNK, 300, "802.1ad", &[])?;
        let addresses = [format!("10.30.0.{last}/24"), format!("2001:db8:300::{last}/64")];
        vlan(host, &provider, 100, "802.1Q", &[&addresses[0], &addresses[1]])?;
        host.ip(&format!("link set dev {provider}.100 mtu 1500"))?;
    }
    for (host, network) in [(&web, 200), (&client, 100)] {
        host.ip(&format!("link set dev {TRUNK}.{network} mtu 1500"))?;
    }
    far.default_gateway(ip("10.30.0.1")?)?;
    far.default_gateway(ip("2001:db8:300::1")?)?;
    web.default_gateway(ip("10.200.0.1")?)?;
    web.default_gateway(ip("2001:db8:200::1")?)?;
    for (vip, gateway) in [("10.100.0.81", "10.200.0.2"), ("2001:db8:100::81", "2001:db8:200::2")] {
        own_vip(&web, ip(vip)?, ip(gateway)?)?;
    }
    let running = start_web(&web)?;
    Ok(Trunk { bed, client, far, _web: running })
}

/// A small request, a download and an upload.
fn use_service(host: &Host, vip: IpAddr) -> Result<()> {
    let server = SocketAddr::new(vip, HTTP_PORT);
    for path in ["/", DOWNLOAD] {
        let response = host
            .enter(|| http::get(server, path, None, SOON))?
            .with_context(|| format!("{path} of {vip}"))?;
        ensure!(response.backend.as_deref() == Some("tweb"), "{vip}: {:?}", response.backend);
    }
    upload(host, vip, UPLOAD_CHUNKS, SOON).with_context(|| format!("upload to {vip}"))
}

#[test]
fn clients_and_servers_in_two_vlans_of_one_trunk() -> Result<()> {
    let trunk = site()?;
    let (v4, v6) = ([ip("10.200.0.11")?], [ip("2001:db8:200::11")?]);
    let vips = [ip("10.100.0.80")?, ip("2001:db8:100::80")?, ip("10.100.0.81")?, ip("2001:db8:100::81")?];
    let services = [
        Served::web("nat", vips[0], &v4),
        Served::web("nat", vips[1], &v6),
        Served::web("dsr-l2", vips[2], &v4),
        Served::web("dsr-l2", vips[3], &v6),
    ];
    let _lbd = serve(&trunk.bed, &[TRUNK], "assign", &services)?;
    for vip in vips {
        use_service(&trunk.client, vip)?;
    }
    let shown = trunk.bed.fleet.node.ip(&format!("address show dev {TRUNK}.100"))?;
    ensure!(
        vips.iter().all(|vip| shown.contains(&format!("{vip}/"))),
        "VIPs belong into their VLAN: {shown}"
    );
    // A VLAN that comes later is followed, and one that goes.
    trunk.bed.fleet.node.ip(&format!("link del {TRUNK}.200"))?;
    vlan(&trunk.bed.fleet.node, TRUNK, 200, "802.1Q", &["10.200.0.1/24", "2001:db8:200::1/64"])?;
    for vip in vips {
        lb_tests::lab::wait_until(&format!("{vip} answers by the new VLAN interface"), SOON, || {
            Ok(trunk.client.enter(|| http::get(SocketAddr::new(vip, HTTP_PORT), "/", None, SOON / 20))?.ok())
        })?;
    }
    Ok(())
}

#[test]
fn clients_with_two_tags_are_served_and_answered_with_two_tags() -> Result<()> {
    let trunk = site()?;
    let (v4, v6) = ([ip("10.200.0.11")?], [ip("2001:db8:200::11")?]);
    let vips = [ip("10.30.0.80")?, ip("2001:db8:300::80")?];
    let services = [Served::web("nat", vips[0], &v4), Served::web("nat", vips[1], &v6)];
    let _lbd = serve(&trunk.bed, &[TRUNK], "assign", &services)?;
    for vip in vips {
        use_service(&trunk.far, vip)?;
    }
    Ok(())
}
