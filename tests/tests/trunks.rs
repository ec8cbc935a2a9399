//! VLANs and bonds, with `lbd` as an operator runs it. Needs root.
//!
//! Role: a target of its own, because it also runs on the kernels that `cargo xtask test --kernel` boots: not every kernel has
//! VLAN interfaces and bonds, and a test that cannot run is reported as ignored, never as passed. Imports lb-tests, and the
//! agent's eyes for links; starts `lbd`.
//! Always holds: a test is left out only when the kernel refuses to make the interface in question.
//!
//! ```text
//!   trunk (a switch that passes tags): client (VLAN 100), edge (100 and 200), web (200), node (all), far (802.1ad 300 / 100)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::configuration::{self, Served};
use lb_tests::hosts::{Web, own_vip, start_web, take_frames_sent_back, vlan};
use lb_tests::lab::{Bridge, End, Host, Lab, Process, wait_until};
use lb_tests::site::HTTP_PORT;
use lb_tests::upload::upload;
use lb_tests::{agent, http};
use lb_userspace::netlink::{Link, Netlink, Vlan, VlanProtocol, trunk as trunk_of};
use libtest_mimic::{Arguments, Trial};

/// Interface of every host on the trunk.
const TRUNK: &str = "trunk";

/// Chunks of 16 KiB that are sent to a VIP.
const UPLOAD_CHUNKS: usize = 16;

/// What is asked for by download.
const DOWNLOAD: &str = "/bytes/300000";

/// Nothing takes longer unless it is broken, on an emulated machine either.
const PATIENCE: Duration = Duration::from_mins(10);

/// Time of one of several attempts.
const ATTEMPT: Duration = Duration::from_secs(3);

fn ip(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| text.to_owned())
}

/// Interfaces that not every kernel makes, as `ip link add` takes them.
const VLAN: &str = "link below name tagged type vlan id 1";
const BOND: &str = "name bond9 type bond";

/// A test: its name, what it needs of the kernel, and itself.
type Test = (&'static str, &'static str, fn() -> Result<()>);

const TESTS: [Test; 4] = [
    ("vlans_are_seen_with_their_trunk", VLAN, vlans_are_seen_with_their_trunk),
    ("clients_and_servers_in_two_vlans_of_one_trunk", VLAN, clients_and_servers_in_two_vlans_of_one_trunk),
    (
        "clients_with_two_tags_are_served_and_answered_with_two_tags",
        VLAN,
        clients_with_two_tags_are_served_and_answered_with_two_tags,
    ),
    (
        "a_bond_is_attached_to_natively_and_serves_by_the_port_that_is_up",
        BOND,
        a_bond_is_attached_to_natively_and_serves_by_the_port_that_is_up,
    ),
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // What the kernel lacks cannot be had by asking for tests that take long.
    arguments.include_ignored = false;
    let made = if arguments.list { BTreeSet::new() } else { made_by_the_kernel()? };
    let trials = TESTS.map(|(name, needs, test)| {
        let trial = Trial::test(name, move || test().map_err(|error| format!("{error:?}").into()));
        trial.with_ignored_flag(!made.contains(needs))
    });
    Ok(libtest_mimic::run(&arguments, trials.into()).exit_code())
}

/// Which of the interfaces above the kernel makes; says why not.
fn made_by_the_kernel() -> Result<BTreeSet<&'static str>> {
    let lab = Lab::new("probe")?;
    let host = lab.host("probe")?;
    host.ip("link add below type veth peer name other")?;
    let mut made = BTreeSet::new();
    for kind in [VLAN, BOND] {
        match host.ip(&format!("link add {kind}")) {
            Ok(_) => drop(made.insert(kind)),
            Err(error) => {
                println!("tests that need `ip link add {kind}` cannot run on this kernel: {error:#}");
            }
        }
    }
    Ok(made)
}

/// What every test has: a lab, a switch, and a node with a configuration.
struct Bed {
    lab: Lab,
    switch: Bridge,
    node: Host,
    config: PathBuf,
    socket: PathBuf,
    bpffs: PathBuf,
}

impl Bed {
    fn new(lab: Lab) -> Result<Self> {
        let (switch, node) = (lab.bridge("switch")?, lab.host("node")?);
        let bpffs = node.bpffs()?.join("lb");
        let (config, socket) = (lab.dir().join("lb.toml"), lab.dir().join("lbd.sock"));
        Ok(Self { lab, switch, node, config, socket, bpffs })
    }

    /// One arm: what comes in by the switch's port goes out by it.
    fn serve(&self, interface: &str, services: &[Served<'_>]) -> Result<(Process, OwnedFd)> {
        let node = configuration::Node {
            interfaces: &[interface],
            vips: "assign",
            bpffs: &self.bpffs,
            socket: &self.socket,
        };
        std::fs::write(&self.config, configuration::text(&node, services))?;
        let lbd = agent::start(&self.node, agent::lbd("run", &self.config)?, PATIENCE)?;
        let port = take_frames_sent_back(self.switch.host(), self.node.name())?;
        Ok((lbd, port))
    }
}

/// A small request, a download and an upload.
fn use_service(host: &Host, vip: IpAddr) -> Result<()> {
    let server = SocketAddr::new(vip, HTTP_PORT);
    for path in ["/", DOWNLOAD] {
        let response = host
            .enter(|| http::get(server, path, None, PATIENCE))?
            .with_context(|| format!("{path} of {vip}"))?;
        ensure!(response.backend.as_deref() == Some("web"), "{vip}: {:?}", response.backend);
    }
    upload(host, vip, UPLOAD_CHUNKS, PATIENCE).with_context(|| format!("upload to {vip}"))
}

struct Trunk {
    bed: Bed,
    client: Host,
    far: Host,
    _web: Web,
}

fn trunk(name: &str) -> Result<Trunk> {
    let bed = Bed::new(Lab::new(name)?)?;
    let lab = &bed.lab;
    let (client, web, edge, far) =
        (lab.host("client")?, lab.host("web")?, lab.router("edge")?, lab.host("far")?);
    let node = &bed.node;
    for host in [&client, &web, &edge, &far, node] {
        // Room for a second tag, as on a real trunk.
        bed.switch.join(End::new(host, TRUNK).mtu(1_504))?;
    }
    for (host, id, last) in [
        (&client, 100, 10),
        (&edge, 100, 2),
        (&edge, 200, 2),
        (&web, 200, 11),
        (node, 100, 1),
        (node, 200, 1),
    ] {
        let addresses = [format!("10.{id}.0.{last}/24"), format!("2001:db8:{id}::{last}/64")];
        let name = vlan(host, TRUNK, id, "802.1Q", &[&addresses[0], &addresses[1]])?;
        host.ip(&format!("link set dev {name} mtu 1500"))?;
    }
    for (host, last) in [(node, 1), (&far, 10)] {
        let provider = vlan(host, TRUNK, 300, "802.1ad", &[])?;
        // Names are at most 15 bytes long.
        let addresses = [format!("10.30.0.{last}/24"), format!("2001:db8:300::{last}/64")];
        let name = vlan(host, &provider, 100, "802.1Q", &[&addresses[0], &addresses[1]])?;
        host.ip(&format!("link set dev {name} mtu 1500"))?;
    }
    for (host, gateways) in
        [(&far, ["10.30.0.1", "2001:db8:300::1"]), (&web, ["10.200.0.1", "2001:db8:200::1"])]
    {
        gateways.into_iter().try_for_each(|gateway| host.default_gateway(ip(gateway)?))?;
    }
    for (vip, gateway) in [("10.100.0.81", "10.200.0.2"), ("2001:db8:100::81", "2001:db8:200::2")] {
        own_vip(&web, ip(vip)?, ip(gateway)?)?;
    }
    let running = start_web(&web)?;
    Ok(Trunk { bed, client, far, _web: running })
}

fn clients_and_servers_in_two_vlans_of_one_trunk() -> Result<()> {
    let trunk = trunk("trunk")?;
    let (v4, v6) = ([ip("10.200.0.11")?], [ip("2001:db8:200::11")?]);
    let vips = [ip("10.100.0.80")?, ip("2001:db8:100::80")?, ip("10.100.0.81")?, ip("2001:db8:100::81")?];
    let services = [
        Served::web("nat", vips[0], &v4),
        Served::web("nat", vips[1], &v6),
        Served::web("dsr-l2", vips[2], &v4),
        Served::web("dsr-l2", vips[3], &v6),
    ];
    let node = &trunk.bed.node;
    let _lbd = trunk.bed.serve(TRUNK, &services)?;
    for vip in vips {
        use_service(&trunk.client, vip)?;
    }
    let shown = node.ip(&format!("address show dev {TRUNK}.100"))?;
    ensure!(
        vips.iter().all(|vip| shown.contains(&format!("{vip}/"))),
        "VIPs belong into their VLAN: {shown}"
    );
    // The VLAN interface to the servers goes, and another one comes.
    node.ip(&format!("link del {TRUNK}.200"))?;
    vlan(node, TRUNK, 200, "802.1Q", &["10.200.0.1/24", "2001:db8:200::1/64"])?;
    for vip in vips {
        let server = SocketAddr::new(vip, HTTP_PORT);
        wait_until(&format!("{vip} answers by the new VLAN interface"), PATIENCE, || {
            Ok(trunk.client.enter(|| http::get(server, "/", None, ATTEMPT))?.ok())
        })?;
    }
    Ok(())
}

fn clients_with_two_tags_are_served_and_answered_with_two_tags() -> Result<()> {
    let trunk = trunk("qinq")?;
    let (v4, v6) = ([ip("10.200.0.11")?], [ip("2001:db8:200::11")?]);
    let vips = [ip("10.30.0.80")?, ip("2001:db8:300::80")?];
    let services = [Served::web("nat", vips[0], &v4), Served::web("nat", vips[1], &v6)];
    let _lbd = trunk.bed.serve(TRUNK, &services)?;
    for vip in vips {
        use_service(&trunk.far, vip)?;
    }
    Ok(())
}

/// One arm: clients and servers are on the segment of the bond.
fn a_bond_is_attached_to_natively_and_serves_by_the_port_that_is_up() -> Result<()> {
    let bed = Bed::new(Lab::new("bond")?)?;
    let (client, web) = (bed.lab.host("client")?, bed.lab.host("web")?);
    bed.switch.join(End::new(&client, "eth0").address("10.0.0.10/24").address("2001:db8::10/64"))?;
    bed.switch.join(End::new(&web, "eth0").address("10.0.0.11/24").address("2001:db8::11/64"))?;
    let node = &bed.node;
    node.ip("link add bond0 type bond mode active-backup miimon 100")?;
    // The bridge has one port per host: the second cable goes by a host that is nothing but a switch.
    let first = bed.switch.join(End::new(node, "port1"))?;
    let (second_switch, patch) = (bed.lab.bridge("second")?, bed.lab.host("patch")?);
    bed.switch.join(End::new(&patch, "patch1"))?;
    second_switch.join(End::new(&patch, "patch2"))?;
    second_switch.join(End::new(node, "port2"))?;
    for command in [
        "link add cross type bridge stp_state 0",
        "link set patch1 master cross",
        "link set patch2 master cross",
        "link set cross up",
    ] {
        patch.ip(command)?;
    }
    for port in ["port1", "port2"] {
        node.ip(&format!("link set {port} down"))?;
        node.ip(&format!("link set {port} master bond0"))?;
    }
    node.ip("link set bond0 up")?;
    for address in ["10.0.0.1/24", "2001:db8::1/64"] {
        node.address("bond0", address)?;
    }
    // Answers go by the node although the client is near.
    for (family, client, gateway) in [("-4", "10.0.0.10", "10.0.0.1"), ("-6", "2001:db8::10", "2001:db8::1")]
    {
        web.ip(&format!("{family} route add {client} via {gateway}"))?;
    }
    let _web = start_web(&web)?;
    let (v4, v6) = ([ip("10.0.0.11")?], [ip("2001:db8::11")?]);
    let vips = [ip("10.0.0.80")?, ip("2001:db8::80")?];
    let services = [Served::web("nat", vips[0], &v4), Served::web("nat", vips[1], &v6)];
    let _lbd = bed.serve("bond0", &services)?;
    let shown = node.ip("-details link show dev bond0")?;
    ensure!(shown.contains("xdp") && !shown.contains("xdpgeneric"), "not native: {shown}");
    for vip in vips {
        use_service(&client, vip)?;
    }
    first.cut()?;
    for vip in vips {
        let server = SocketAddr::new(vip, HTTP_PORT);
        wait_until(&format!("{vip} answers by the other port"), PATIENCE, || {
            Ok(client.enter(|| http::get(server, "/", None, ATTEMPT))?.ok())
        })?;
    }
    Ok(())
}

fn vlans_are_seen_with_their_trunk() -> Result<()> {
    let lab = Lab::new("seen")?;
    let (node, peer) = (lab.host("node")?, lab.host("peer")?);
    node.ip("link add n0 type veth peer name n1")?;
    node.ip("link add link n0 name n0.300 type vlan protocol 802.1ad id 300")?;
    node.ip("link add link n0.300 name inner type vlan id 4094")?;
    // Its parent is in another namespace: nothing can be said of its trunk.
    node.ip(&format!("link add link n0 name n0.7 netns {} type vlan id 7", peer.netns()))?;
    let links = links_of(&node)?;
    let named = |name: &str| links.values().find(|link| link.name == name).context(name.to_owned());
    let (n0, outer, inner) = (named("n0")?.index, named("n0.300")?, named("inner")?);
    let of_outer = Vlan { id: 300, protocol: VlanProtocol::Provider, parent: n0 };
    let of_inner = Vlan { id: 4_094, protocol: VlanProtocol::Customer, parent: outer.index };
    ensure!((outer.vlan, inner.vlan) == (Some(of_outer), Some(of_inner)), "{outer:?}, {inner:?}");
    let below = trunk_of(&links, inner.index).context("no trunk")?;
    ensure!((below.port, &*below.tags) == (n0, &[of_outer, of_inner][..]), "{below:?}");
    let links = links_of(&peer)?;
    let orphan = links.values().find(|link| link.name == "n0.7").context("no n0.7")?;
    ensure!((orphan.kind.as_deref(), orphan.vlan) == (Some("vlan"), None), "{orphan:?}");
    Ok(())
}

/// The links of a host by their index, as the agent sees them.
fn links_of(host: &Host) -> Result<BTreeMap<u32, Link>> {
    host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let links = runtime.block_on(async { Netlink::open()?.links().await })?;
        Ok(links.into_iter().map(|link| (link.index, link)).collect())
    })?
}
