//! A web site in a lab: a client, a node for the load balancer, and web servers that fit every forward mode at once.
//!
//! ```text
//!                        198.51.100.0/24, 2001:db8:1::/64
//!              client .10 ───────────────────── .1 edge (the site's router)
//!                                                  │  │
//!      front: 203.0.113.0/24, 2001:db8:2::/64      │  │      back: 10.0.0.0/24, 2001:db8:3::/64, MTU 1,600
//!   ──────┬────────────────────────────────────────┘  └───────────────┬───────┬─────────┬─────────┬──────
//!         │ .2   VIPs .10 (nat), .20 (dsr-l2), .30 (dsr-ipip)      .1 │    .2 │     .11 │     .12 │
//!         └──────────────────────────── node ─────────────────────────────────┘        web1      web2 …
//! ```
//!
//! - To the site: the edge finds the VIPs on the front segment, where the node has them (or, with external VIPs, a
//!   route says so). The node receives on `front` and sends out of `back`.
//! - `nat`: a web server's default gateway is the node, which turns the answer round and sends it to the edge on
//!   `front`.
//! - `dsr-l2`, `dsr-ipip`: the web servers have these VIPs on `lo`. What they send *from* a VIP goes to the edge
//!   directly (a policy route), as it must: the node, whose own addresses the VIPs are, would drop it as martian.
//! - Tunnels add 20 or 40 bytes to the client's packets, hence the larger MTU of the back segment.
//!
//! Imports `lab`, `bins`, `http`, `programs` (for what they print).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bins;
use crate::http::{self, Response};
use crate::lab::{Bridge, End, Host, Lab, Link, Process};
use crate::programs::{decap, serve};

/// Port of the web servers and of the VIPs.
pub const HTTP_PORT: u16 = 80;

/// Interface of the node towards the clients.
pub const NODE_FRONT: &str = "front";

/// Interface of the node towards the web servers.
pub const NODE_BACK: &str = "back";

/// Web servers that a site may have: their addresses end in 11 and on.
pub const MAX_WEBS: u8 = 100;

/// Time from the start of one health check to the start of the next, in [`WebFleet::config`].
pub const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Time that a health check may take, in [`WebFleet::config`].
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(200);

/// Failed checks in a row that take a web server down, in [`WebFleet::config`].
pub const CHECK_FALL: u32 = 3;

/// MTU of the back segment, in bytes: room for a tunnel's header.
const BACK_MTU: u32 = 1_600;

/// Last part of the first web server's addresses.
const FIRST_WEB: u8 = 11;

/// Routing table of the web servers for what they send from a VIP.
const DIRECT_TABLE: u32 = 100;

/// Time that a program of ours has to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a path of the finished topology has to carry a ping.
const PATH_TIMEOUT: Duration = Duration::from_secs(5);

/// How packets reach the backends: each mode has VIPs of its own here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Destination NAT.
    Nat,
    /// Destination MAC only.
    DsrL2,
    /// IPv4 in IPv4, IPv6 in IPv6.
    DsrIpip,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Nat, Self::DsrL2, Self::DsrIpip];

    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::DsrL2 => "dsr-l2",
            Self::DsrIpip => "dsr-ipip",
        }
    }

    /// The IPv4 VIP.
    pub fn vip_v4(self) -> Ipv4Addr {
        front_v4(self.last_part())
    }

    /// The IPv6 VIP.
    pub fn vip_v6(self) -> Ipv6Addr {
        v6(2, self.last_part())
    }

    /// Both VIPs.
    pub fn vips(self) -> [IpAddr; 2] {
        [self.vip_v4().into(), self.vip_v6().into()]
    }

    /// Whether the web servers own the VIPs and answer clients themselves.
    pub fn is_direct(self) -> bool {
        self != Self::Nat
    }

    fn last_part(self) -> u8 {
        match self {
            Self::Nat => 10,
            Self::DsrL2 => 20,
            Self::DsrIpip => 30,
        }
    }
}

/// The site.
pub struct WebFleet {
    /// The lab that it stands in.
    pub lab: Lab,
    /// Where clients run.
    pub client: Host,
    /// The site's router; no part of the load balancer.
    pub edge: Host,
    /// Where the load balancer runs, with the interfaces [`NODE_FRONT`] and [`NODE_BACK`].
    pub node: Host,
    /// The web servers, `web1` first.
    pub webs: Vec<Web>,
    /// Segment of edge and node.
    pub front: Bridge,
    /// Segment of edge, node and web servers.
    pub back: Bridge,
    /// The node's link to the front segment.
    pub node_front: Link,
    /// The node's link to the back segment.
    pub node_back: Link,
}

/// A web server.
pub struct Web {
    /// `web1` and so on.
    pub host: Host,
    /// Its own IPv4 address.
    pub v4: Ipv4Addr,
    /// Its own IPv6 address.
    pub v6: Ipv6Addr,
    /// Its interface `eth0` on the back segment.
    pub link: Link,
    server: Option<Process>,
    decap: Option<Process>,
}

impl WebFleet {
    /// Builds the site with `web_count` web servers, each with a tunnel's end, but without a server on it yet: see
    /// [`WebFleet::start_servers`].
    ///
    /// # Errors
    /// As [`Lab::new`]; when `lb-lab` is not built; when the finished topology does not carry a ping.
    pub fn new(web_count: u8) -> Result<Self> {
        ensure!((1..=MAX_WEBS).contains(&web_count), "{web_count} web servers: 1 to {MAX_WEBS} are possible");
        let lab = Lab::new("site")?;
        let (client, edge, node) = (lab.host("client")?, lab.router("edge")?, lab.router("node")?);
        let (front, back) = (lab.bridge("front")?, lab.bridge("back")?);

        lab.link(
            End::new(&client, "eth0").address("198.51.100.10/24").address("2001:db8:1::10/64"),
            End::new(&edge, "access").address("198.51.100.1/24").address("2001:db8:1::1/64"),
        )?;
        front.join(on_front(&edge, "front", 1))?;
        let node_front = front.join(on_front(&node, NODE_FRONT, 2))?;
        back.join(on_back(&edge, "back", 1))?;
        let node_back = back.join(on_back(&node, NODE_BACK, 2))?;
        client.default_gateway(Ipv4Addr::new(198, 51, 100, 1).into())?;
        client.default_gateway(v6(1, 1).into())?;
        node.default_gateway(front_v4(1).into())?;
        node.default_gateway(v6(2, 1).into())?;
        let webs = (0..web_count).map(|index| Web::new(&lab, &back, index)).collect::<Result<Vec<_>>>()?;
        let fleet = Self { lab, client, edge, node, webs, front, back, node_front, node_back };
        fleet.check_paths()?;
        Ok(fleet)
    }

    /// Starts our own web server on every host that has none; returns when all answer.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start_servers(&mut self) -> Result<()> {
        self.webs.iter_mut().try_for_each(Web::start_server)
    }

    /// One request from the client to a VIP or a web server, on a connection of its own.
    ///
    /// # Errors
    /// As [`http::get`].
    pub fn get(&self, address: IpAddr, timeout: Duration) -> Result<Response> {
        let server = SocketAddr::new(address, HTTP_PORT);
        self.client.enter(|| http::get(server, "/", None, timeout))?
    }

    /// A configuration that serves every VIP, for the agent on the node: a pool and a service for each mode and
    /// address family.
    pub fn config(&self, bpffs: &Path, control_socket: &Path) -> String {
        let mut text = format!(
            "[node]\n\
             interfaces = [\"{NODE_FRONT}\", \"{NODE_BACK}\"]\n\
             vips = \"assign\"\n\
             bpffs = \"{}\"\n\
             control_socket = \"{}\"\n\n\
             [checks.web]\n\
             kind = \"http\"\n\
             path = \"/healthz\"\n\
             port = {HTTP_PORT}\n\
             interval = \"{}ms\"\n\
             timeout = \"{}ms\"\n\
             rise = 2\n\
             fall = {CHECK_FALL}\n",
            bpffs.display(),
            control_socket.display(),
            CHECK_INTERVAL.as_millis(),
            CHECK_TIMEOUT.as_millis(),
        );
        for mode in Mode::ALL {
            for (family, vip) in ["v4", "v6"].into_iter().zip(mode.vips()) {
                let name = format!("{}-{family}", mode.name());
                let backends: String = self.webs.iter().map(|web| web.config_line(mode, vip)).collect();
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "\n[pools.{name}]\nmode = \"{}\"\ncheck = \"web\"\nbackends = [\n{backends}]\n\n\
                     [services.{name}]\nvips = [\"{vip}\"]\nports = [{HTTP_PORT}]\nprotocol = \"tcp\"\npool = \"{name}\"\n",
                    mode.name()
                );
            }
        }
        text
    }

    /// Every path that a forward mode needs carries packets: neighbours answer, bridges and routers forward.
    fn check_paths(&self) -> Result<()> {
        for web in &self.webs {
            for address in [IpAddr::from(web.v4), web.v6.into()] {
                self.client.ping(address, PATH_TIMEOUT)?;
                self.node.ping(address, PATH_TIMEOUT)?;
            }
        }
        Ok(())
    }
}

impl Web {
    fn new(lab: &Lab, back: &Bridge, index: u8) -> Result<Self> {
        let host = lab.host(&format!("web{}", index + 1))?;
        let last = FIRST_WEB + index;
        let link = back.join(on_back(&host, "eth0", last))?;
        host.default_gateway(back_v4(2).into())?;
        host.default_gateway(v6(3, 2).into())?;

        host.hide_loopback_addresses()?;
        for mode in Mode::ALL.into_iter().filter(|mode| mode.is_direct()) {
            host.address("lo", &format!("{}/32", mode.vip_v4()))?;
            host.address("lo", &format!("{}/128", mode.vip_v6()))?;
        }
        host.ip(&format!("-4 rule add from 203.0.113.0/24 lookup {DIRECT_TABLE}"))?;
        host.ip(&format!("-6 rule add from 2001:db8:2::/64 lookup {DIRECT_TABLE}"))?;
        host.ip(&format!("-4 route add default via {} table {DIRECT_TABLE}", back_v4(1)))?;
        host.ip(&format!("-6 route add default via {} table {DIRECT_TABLE}", v6(3, 1)))?;

        let mut command = Command::new(bins::lb_lab()?);
        command.arg("decap");
        let decap = host.spawn(command)?;
        decap.wait_for_output(decap::READY, START_TIMEOUT)?;
        Ok(Self { host, v4: back_v4(last), v6: v6(3, last), link, server: None, decap: Some(decap) })
    }

    /// Starts our own web server, if it does not run; returns when it listens.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_server(&mut self) -> Result<()> {
        if self.server.as_ref().is_some_and(Process::is_alive) {
            return Ok(());
        }
        let name = self.host.name();
        self.server = Some(start_server(&self.host, name)?);
        Ok(())
    }

    /// Kills the web server as a crash would; connections to it are reset.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_server(&mut self) -> Result<()> {
        let server = self.server.take().with_context(|| format!("{} runs no server", self.host.name()))?;
        server.kill().map(drop)
    }

    /// Ends the lab's own end of the tunnels, to make room for another.
    ///
    /// # Errors
    /// When it can not be ended.
    pub fn stop_tunnel_end(&mut self) -> Result<()> {
        self.decap.take().map_or(Ok(()), |decap| decap.terminate().map(drop))
    }

    fn config_line(&self, mode: Mode, vip: IpAddr) -> String {
        let address = if vip.is_ipv4() { IpAddr::from(self.v4) } else { self.v6.into() };
        // A direct server is asked on the VIP's port; only nat can change it.
        let address = match mode {
            Mode::Nat => SocketAddr::new(address, HTTP_PORT).to_string(),
            Mode::DsrL2 | Mode::DsrIpip => address.to_string(),
        };
        format!("    {{ name = \"{}\", address = \"{address}\" }},\n", self.host.name())
    }
}

/// Starts our web server in any host, on port 80 of all its addresses and, answering datagrams, on UDP port 80; returns
/// when it listens.
///
/// # Errors
/// When `lb-lab` is not built or the port is taken.
pub fn start_server(host: &Host, name: &str) -> Result<Process> {
    let mut command = Command::new(bins::lb_lab()?);
    command.args(["serve", "--name", name]);
    for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
        let address = SocketAddr::new(any, HTTP_PORT).to_string();
        command.args(["--listen", &address, "--udp", &address]);
    }
    let server = host.spawn(command)?;
    server.wait_for_output(serve::READY, START_TIMEOUT)?;
    Ok(server)
}

/// A leg on the front segment.
fn on_front(host: &Host, interface: &str, last: u8) -> End {
    let (v4, v6) = (front_v4(last), v6(2, last));
    End::new(host, interface).address(&format!("{v4}/24")).address(&format!("{v6}/64"))
}

/// A leg on the back segment.
fn on_back(host: &Host, interface: &str, last: u8) -> End {
    let (v4, v6) = (back_v4(last), v6(3, last));
    End::new(host, interface).mtu(BACK_MTU).address(&format!("{v4}/24")).address(&format!("{v6}/64"))
}

fn front_v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

fn back_v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

/// `2001:db8:NETWORK::LAST`, the last part written as its IPv4 counterpart is (11 is `::11`).
fn v6(network: u16, last: u8) -> Ipv6Addr {
    let digits = u16::from(last / 100) * 0x100 + u16::from(last / 10 % 10) * 0x10 + u16::from(last % 10);
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, digits)
}
