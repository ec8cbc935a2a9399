//! The desired state: what a valid configuration means.
//!
//! Role: plain data that every other room reads. Imports lb-common only.
//! Always holds: a `Model` came out of `config` (or a test's builder) and satisfies the rules listed at its
//! fields; nothing downstream checks them again.

mod check;
mod policy;
mod ports;
mod prefix;

pub use check::{
    AgentCheck, BodyPattern, Check, CheckKind, DnsCheck, DnsType, ExecCheck, GrpcCheck, HttpCheck,
    HttpVersion, MysqlAccount, MysqlCheck, Role, StatusSet, TlsCheck, UdpCheck, host_without_port,
};
pub use policy::{OnAllDown, OnRoleChange, Policy};
pub use ports::{PortPrefix, Ports, prefixes};
pub use prefix::Prefix;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Pairs of a nat frontend and a backend that there is room for, for each of [`Limits::backends`].
pub use lb_common::abi::REVERSE_PER_BACKEND;

/// The whole desired state of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What belongs to this node alone.
    pub node: Node,
    /// Health checks by name.
    pub checks: BTreeMap<String, Check>,
    /// Pools by name. Every `check` they name exists.
    pub pools: BTreeMap<String, Pool>,
    /// Services by name. Every `pool` they name exists; no frontend occurs twice in the model.
    pub services: BTreeMap<String, Service>,
}

/// What belongs to this node alone; never replicated to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Interfaces that the datapath attaches to; at least one, no duplicates.
    pub interfaces: Vec<String>,
    /// Who puts the VIPs on the node.
    pub vips: VipOwnership,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// Level of the datapath's log (`off` costs nothing: the verifier removes the code).
    pub datapath_log: DatapathLog,
    /// Addresses that tunnels start from, one network per family at most: outer headers vary within its last 32 bits. The
    /// default is the route's preferred source.
    pub tunnel_sources: Vec<Prefix>,
    /// The agent's control socket.
    pub control_socket: PathBuf,
    /// Directory on a bpffs under which maps and links are pinned.
    pub bpffs: PathBuf,
    /// Sizes of the maps.
    pub limits: Limits,
}

/// Sizes of the maps, in entries. Fixed when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frontends (VIP, port, protocol); 1 to 65,536. The default is 4,096.
    pub services: u32,
    /// Backends of all pools; 1 to 1,048,576. The default is 16,384.
    pub backends: u32,
    /// Slots of all pools, counting twice those of the largest pool (old and new table live side by side);
    /// 1,024 to 67,108,864. The default is 4,194,304 (32 MiB).
    pub slots: u32,
    /// Flows that are remembered while slots change hands; 16,384 to 16,777,216. The default is 524,288 (about 64 MiB).
    pub flows: u32,
    /// Sessions of `full-nat` pools; 1,024 to 16,777,216. The default is 262,144; they take memory (about 400 bytes each) as
    /// they come.
    pub sessions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 4_096, backends: 16_384, slots: 4_194_304, flows: 524_288, sessions: 262_144 }
    }
}

/// Who puts the VIPs on the node, so that it answers ARP and neighbour solicitations for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipOwnership {
    /// The agent adds them as /32 or /128 to the interface, or VLAN on top of one, that has an address in the same network,
    /// else to the first interface, and removes what it added.
    Assign,
    /// The operator, or the network's routing, brings the traffic.
    External,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, or generic where the driver cannot; the fallback is logged and shown by `lbctl status`.
    Auto,
    /// Native or fail.
    Native,
    /// Generic (after the skb is made; slow, works on every driver).
    Generic,
}

/// Level of the datapath's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatapathLog {
    /// Nothing, at no cost.
    Off,
    /// Drops.
    Warn,
    /// Drops and new connections.
    Info,
    /// Every packet of a service.
    Debug,
}

/// Backends with one forward mode and one health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How packets reach the backends.
    pub mode: ForwardMode,
    /// Name of the check; without one every backend counts as up.
    pub check: Option<String>,
    /// Entries of the slot table: a prime from 251 to 1,048,573. The default is 16,381: room for 160 backends at
    /// 100 slots each, and small enough (128 KiB) to stay in a core's second-level cache.
    pub slots: u32,
    /// What decides which slot a flow falls on. The default is `flow`.
    pub affinity: Affinity,
    /// A connection that is idle for less than this stays with its backend whatever changes; 1 s to 24 h. The default
    /// is 350 s.
    pub flow_timeout: Duration,
    /// Time in which a backend that comes back grows from a small share to its whole share; 0 (the default: at once)
    /// to 1 h.
    pub slow_start: Duration,
    /// A backend that has been down for this long counts as dead: its connections are given up, so that their next
    /// packet goes to another backend, which resets them; 0 to 24 h. The default is 30 s.
    pub dead_after: Duration,
    /// What it does when few or none of its backends are healthy.
    pub policy: Policy,
    /// UDP port that tunnels of `dsr-gue` go to. The default is 6,080 (IANA's for GUE).
    pub gue_port: u16,
    /// Addresses that `full-nat` sends from, in the order of the file: one at least of each family of its backends, and
    /// nobody else's. None in other modes.
    pub snat: Vec<IpAddr>,
    /// Backends in the order of the file; names and addresses are unique within the pool. Last come the standbys: the
    /// backends of the pool that it falls back to, except those that it has itself.
    pub backends: Vec<Backend>,
}

/// The port that IANA assigned to GUE.
pub const GUE_PORT: u16 = 6_080;

impl Pool {
    /// A pool without backends and check, with the defaults of everything else.
    pub const fn new(mode: ForwardMode, slots: u32) -> Self {
        Self {
            mode,
            check: None,
            slots,
            affinity: Affinity::Flow,
            flow_timeout: Duration::from_secs(350),
            slow_start: Duration::ZERO,
            dead_after: Duration::from_secs(30),
            policy: Policy::DEFAULT,
            gue_port: GUE_PORT,
            snat: Vec::new(),
            backends: Vec::new(),
        }
    }

    /// Its own backends, without those that stand in for them.
    pub fn own_backends(&self) -> impl Iterator<Item = &Backend> + Clone {
        self.backends.iter().filter(|backend| backend.standby_of.is_none())
    }

    /// Whether flows of one of these addresses may find a backend of the other: they share a slot table.
    pub fn shares_table(&self, one: IpAddr, other: IpAddr) -> bool {
        self.mode.is_tunnel() || one.is_ipv4() == other.is_ipv4()
    }
}

/// What decides which slot a flow falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Affinity {
    /// The 5-tuple: every connection for itself.
    Flow,
    /// The client's address: all connections of a client, to whichever VIP of the pool, find the same backend.
    Source,
    /// The client's address and the VIP.
    SourceVip,
}

/// How packets reach the backends (DESIGN, Forward modes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForwardMode {
    /// Destination NAT; replies come back through the node.
    Nat,
    /// Destination MAC only; the backend owns the VIP and answers the client itself.
    DsrL2,
    /// IP in IP, of either family in either (RFC 2003, RFC 2473, RFC 4213); the backend decapsulates and answers the client
    /// itself.
    DsrIpip,
    /// The same in UDP (GUE).
    DsrGue,
    /// Destination and source NAT, with a session for each flow; backends answer the node.
    FullNat,
}

impl ForwardMode {
    /// Whether packets travel inside others, so that backends of either family serve VIPs of either.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::DsrIpip | Self::DsrGue)
    }

    /// Whether a backend may have another port than the service.
    pub const fn changes_ports(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name, unique in its pool: letters, digits, `-`, `_`, `.`; 1 to 63 characters. That of a standby is its pool's name, a
    /// slash, and its own.
    pub name: String,
    /// Address of the server. Unspecified, loopback and multicast addresses are refused.
    pub address: IpAddr,
    /// Port of the server; none means the service's own port (always so in the DSR modes).
    pub port: Option<u16>,
    /// Share of new flows relative to the pool's other backends; 0 to 1,000. 0 takes no flows. The default is 100.
    pub weight: u32,
    /// What the operator wants of it.
    pub state: AdminState,
    /// Whom it stands for, if it is there for when the pool's own backends are down.
    pub standby_of: Option<StandbyOf>,
}

/// A backend of another pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyOf {
    /// Name of the pool.
    pub pool: String,
    /// Name of the backend in it.
    pub name: String,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// Takes flows while it is healthy.
    Active,
    /// Takes no new flows; keeps those that it has.
    Drain,
    /// Takes no traffic: its connections are given up, and it is not checked.
    Maintenance,
}

/// A virtual service: where clients connect, and the pool that serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Virtual addresses and networks of them, at least one; in `nat` no networks.
    pub vips: Vec<Prefix>,
    /// Ports, at least one; ranges do not overlap, neither here nor with another service of a VIP and protocol. Any port is
    /// there alone.
    pub ports: Vec<Ports>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Name of the pool. Except with tunnels, each VIP is served by the backends of its own family: where there are any
    /// backends, there is one.
    pub pool: String,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One VIP, port (or range, or any) and protocol: what the datapath looks a service up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The VIP.
    pub vip: Prefix,
    /// The ports.
    pub ports: Ports,
    /// The protocol.
    pub protocol: Protocol,
}

/// VIP and ports: `203.0.113.10:80`, `[2001:db8::10]:30000-32767`, `203.0.113.0/28:any`.
impl fmt::Display for Frontend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vip.is_ipv4() {
            write!(formatter, "{}:{}", self.vip, self.ports)
        } else {
            write!(formatter, "[{}]:{}", self.vip, self.ports)
        }
    }
}

impl Service {
    /// Every frontend of the service: each VIP with each port.
    pub fn frontends(&self) -> impl Iterator<Item = Frontend> + '_ {
        self.vips.iter().flat_map(move |vip| {
            self.ports.iter().map(move |ports| Frontend { vip: *vip, ports: *ports, protocol: self.protocol })
        })
    }
}

impl Model {
    /// Whether no client can reach anything: legal, and worth a question before it replaces a model that serves.
    pub fn serves_nothing(&self) -> bool {
        self.services.is_empty()
    }

    /// The check of a pool, if it has one.
    pub fn check_of(&self, pool: &Pool) -> Option<&Check> {
        pool.check.as_ref().and_then(|name| self.checks.get(name))
    }

    /// Every VIP of the model, once, and every network of them.
    pub fn vips(&self) -> BTreeSet<Prefix> {
        self.services.values().flat_map(|service| service.vips.iter().copied()).collect()
    }

    /// Every address that `full-nat` sends from.
    pub fn snat_addresses(&self) -> BTreeSet<IpAddr> {
        self.pools.values().flat_map(|pool| pool.snat.iter().copied()).collect()
    }

    /// Addresses that the network has to find at the node: VIPs, and what `full-nat` sends from. Networks of VIPs have to be
    /// routed to it.
    pub fn node_addresses(&self) -> BTreeSet<IpAddr> {
        self.vips().iter().filter_map(Prefix::single).chain(self.snat_addresses()).collect()
    }
}
