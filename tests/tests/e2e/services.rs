//! Services of ranges, of any port, of both families and of a whole network.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::lab::{Host, Process};
use lb_tests::programs::serve;
use lb_tests::site::{HTTP_PORT, Mode, NODE_FRONT};
use lb_tests::{bins, http};
use lb_userspace::api::types::{ServiceInfo, Status};

use super::bed::{Bed, SOON};

/// A port of the range, on which the servers listen too.
const RANGE_PORT: u16 = 30_005;

/// A port beyond the range.
const OTHER_PORT: u16 = 30_011;

/// Time in which a connection that nobody serves is refused.
const REFUSAL: Duration = Duration::from_secs(2);

/// A network of VIPs, which the site's router sends to the node.
const NETWORK: &str = "192.0.2.0/28";

/// Requests after which each of two servers of equal weight has been seen, except once in 10^9 times.
const ENOUGH: usize = 30;

/// Connections to a port that nobody serves; the kernel refuses as many at once.
const ATTEMPTS: u64 = 5;

/// `nat` with both families and a range, `dsr-l2` with any port, `dsr-ipip` with a network.
fn services(bed: &Bed) -> Result<String> {
    let text = bed.text()?;
    let (head, _) = text.split_once("\n[pools.").context("no pool in the configuration")?;
    let backends = |v4: bool, v6: bool| -> String {
        let webs = bed.fleet.webs.iter().flat_map(|web| {
            let name = web.host.name();
            let line = |family: &str, address: IpAddr| {
                format!("    {{ name = \"{name}{family}\", address = \"{address}\" }},\n")
            };
            let both = [(v4, line("", web.v4.into())), (v6, line("-v6", web.v6.into()))];
            both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, line)| line)
        });
        webs.collect()
    };
    let pool = |name: &str, mode: Mode, backends: String| {
        format!("\n[pools.{name}]\nmode = \"{}\"\ncheck = \"web\"\nbackends = [\n{backends}]\n", mode.name())
    };
    let service = |name: &str, vips: &str, ports: &str| {
        format!(
            "\n[services.{name}]\nvips = [{vips}]\nports = {ports}\nprotocol = \"tcp\"\npool = \"{name}\"\n"
        )
    };
    let vips = |mode: Mode| format!("\"{}\", \"{}\"", mode.vip_v4(), mode.vip_v6());
    Ok([
        head.to_owned(),
        pool("both", Mode::Nat, backends(true, true)),
        service("both", &vips(Mode::Nat), "[\"80\", \"30000-30010\"]"),
        pool("any", Mode::DsrL2, backends(true, false)),
        service("any", &format!("\"{}\"", Mode::DsrL2.vip_v4()), "\"any\""),
        pool("network", Mode::DsrIpip, backends(true, false)),
        service("network", &format!("\"{NETWORK}\""), "[80]"),
    ]
    .concat())
}

/// A second web server of a host, on [`RANGE_PORT`].
fn serve_range(host: &Host) -> Result<Process> {
    let mut command = Command::new(bins::lb_lab()?);
    command.args(["serve", "--name", host.name()]);
    for any in ["0.0.0.0", "[::]"] {
        command.args(["--listen", &format!("{any}:{RANGE_PORT}")]);
    }
    let server = host.spawn(command)?;
    server.wait_for_output(serve::READY, SOON)?;
    Ok(server)
}

/// Lets the network of VIPs arrive at the node, and the servers answer from it.
fn route_network(bed: &Bed) -> Result<()> {
    bed.fleet.edge.route(NETWORK, IpAddr::from([203, 0, 113, 2]))?;
    for web in &bed.fleet.webs {
        web.host.ip(&format!("-4 route add local {NETWORK} dev lo"))?;
        web.host.ip(&format!("-4 rule add from {NETWORK} lookup 100"))?;
    }
    Ok(())
}

/// Every server answers at this address and port.
fn expect_all(bed: &Bed, address: IpAddr, port: u16) -> Result<()> {
    let server = SocketAddr::new(address, port);
    let seen = bed.fleet.client.enter(|| -> Result<BTreeSet<String>> {
        let ask = || {
            let response = http::get(server, "/", None, SOON).with_context(|| format!("asking {server}"))?;
            ensure!(response.status == 200, "{server}: status {}", response.status);
            response.backend.context("no name in the answer")
        };
        (0..ENOUGH).map(|_| ask()).collect()
    })??;
    let all: BTreeSet<String> = bed.fleet.webs.iter().map(|web| web.host.name().to_owned()).collect();
    ensure!(seen == all, "{server} was answered by {seen:?}");
    Ok(())
}

#[test]
fn ranges_any_port_both_families_and_networks_are_served() -> Result<()> {
    let bed = Bed::shared(2)?;
    let _servers = bed.fleet.webs.iter().map(|web| serve_range(&web.host)).collect::<Result<Vec<_>>>()?;
    route_network(&bed)?;
    bed.write(&services(&bed)?)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    for vip in Mode::Nat.vips() {
        expect_all(&bed, vip, HTTP_PORT)?;
        expect_all(&bed, vip, RANGE_PORT)?;
        let beyond = SocketAddr::new(vip, OTHER_PORT);
        ensure!(
            bed.fleet.client.enter(|| http::get(beyond, "/", None, REFUSAL))?.is_err(),
            "{beyond} answers"
        );
    }
    expect_all(&bed, Mode::DsrL2.vip_v4().into(), HTTP_PORT)?;
    expect_all(&bed, Mode::DsrL2.vip_v4().into(), RANGE_PORT)?;
    for last in [0, 7, 15] {
        expect_all(&bed, IpAddr::from([192, 0, 2, last]), HTTP_PORT)?;
    }
    what_nobody_takes_of_the_network_ends_at_the_node(&bed)?;
    check_what_is_shown(&bed)?;
    // Edits keep working, and an agent that starts anew takes everything over.
    bed.edit("backend drain both/web1")?;
    bed.edit("backend undrain both/web1")?;
    lbd.kill()?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    expect_all(&bed, Mode::Nat.vip_v4().into(), RANGE_PORT)?;
    check_what_is_shown(&bed)?;
    // With nothing but a single port, nothing is left of the rest.
    bed.write(&only_one_port(&bed)?)?;
    bed.edit("reload")?;
    expect_all(&bed, Mode::Nat.vip_v6().into(), HTTP_PORT)?;
    let gone = SocketAddr::new(Mode::Nat.vip_v4().into(), RANGE_PORT);
    ensure!(bed.fleet.client.enter(|| http::get(gone, "/", None, REFUSAL))?.is_err(), "{gone} still answers");
    Ok(())
}

/// The site's router has a route to the node, and the node one to the router: a packet must not go to and fro.
fn what_nobody_takes_of_the_network_ends_at_the_node(bed: &Bed) -> Result<()> {
    let received = || -> Result<u64> {
        let shown = bed.fleet.node.ip(&format!("-json -statistics link show dev {NODE_FRONT}"))?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        shown[0]["stats64"]["rx"]["packets"].as_u64().context("no count of packets")
    };
    let nobody = SocketAddr::new(IpAddr::from([192, 0, 2, 7]), OTHER_PORT);
    let before = received()?;
    for _ in 0..ATTEMPTS {
        ensure!(
            bed.fleet.client.enter(|| http::get(nobody, "/", None, REFUSAL))?.is_err(),
            "{nobody} answers"
        );
    }
    let came = received()? - before;
    // A SYN or two each, and what servers and neighbours say meanwhile; in a circle each comes thirty times.
    ensure!(came < 10 * ATTEMPTS, "{came} packets came of {ATTEMPTS} attempts");
    Ok(())
}

/// The configuration without its ranges, networks and services of any port.
fn only_one_port(bed: &Bed) -> Result<String> {
    let text = bed.text()?;
    let (both, _) = text.split_once("\n[pools.any]").context("no such pool")?;
    Ok(both.replace("[\"80\", \"30000-30010\"]", "[80]"))
}

fn check_what_is_shown(bed: &Bed) -> Result<()> {
    let services: Vec<ServiceInfo> = bed.show("service list")?;
    let frontends: Vec<(&str, &[String], bool)> = services
        .iter()
        .map(|service| (service.name.as_str(), service.frontends.as_slice(), service.new_connections > 0))
        .collect();
    let (v4, v6) = (Mode::Nat.vip_v4(), Mode::Nat.vip_v6());
    let both = [
        format!("{v4}:80"),
        format!("{v4}:30000-30010"),
        format!("[{v6}]:80"),
        format!("[{v6}]:30000-30010"),
    ];
    let any = [format!("{}:any", Mode::DsrL2.vip_v4())];
    let network = [format!("{NETWORK}:80")];
    let expected = [
        ("any", any.as_slice(), true),
        ("both", both.as_slice(), true),
        ("network", network.as_slice(), true),
    ];
    ensure!(frontends == expected, "{frontends:?}");
    let status: Status = bed.status()?;
    let network = status.vips.iter().find(|vip| vip.prefix_bits == Some(28)).context("no network")?;
    ensure!(network.interface.is_none(), "a network is on {:?}", network.interface);
    let used = status.limits.iter().find(|limit| limit.name == "services").map(|limit| limit.used);
    ensure!(used == Some(6), "{used:?} frontends in use");
    ensure!(bed.lbctl("status")?.success()?.stdout.contains("192.0.2.0/28"), "the status names the network");
    Ok(())
}
