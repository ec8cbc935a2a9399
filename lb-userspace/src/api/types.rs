//! What the agent reports: status, services, backends, events.
//!
//! Role: plain serde data, written by the server and read by `lbctl` and by scripts (`-o json` prints it as it is).
//! Imports nothing of ours.
//! Always holds: units are in the names; counters only grow while the pinned maps live; fields are added, never
//! renamed, and a reader ignores fields that it does not know.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The agent and its datapath at a glance: `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Version of the map ABI that agent and datapath share.
    pub abi_version: u32,
    /// Process id of the agent.
    pub pid: u32,
    /// Time since the agent started.
    pub uptime_seconds: u64,
    /// The configuration in force.
    pub config: ConfigInfo,
    /// What the operator should look at, a sentence each.
    pub warnings: Vec<String>,
    /// Interfaces that the datapath is attached to.
    pub interfaces: Vec<InterfaceInfo>,
    /// Every bounded table with its use.
    pub limits: Vec<LimitUsage>,
    /// Number of services.
    pub service_count: u32,
    /// Number of backends by condition.
    pub backends: BackendCounts,
    /// Packets by what the datapath decided.
    pub verdicts: Vec<VerdictCount>,
    /// Virtual addresses and where they are.
    pub vips: Vec<VipInfo>,
    /// What is remembered of flows while slots change hands.
    #[serde(default)]
    pub flows: FlowTableInfo,
    /// Sessions of `full-nat`.
    #[serde(default)]
    pub sessions: SessionTableInfo,
    /// Health checks.
    #[serde(default)]
    pub checks: CheckLoad,
}

/// How punctual health checks are: the first thing to suffer on a node that has too much to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckLoad {
    /// Questions that are asked again and again: one for each address and check, whoever shares it.
    pub questions: u64,
    /// Checks that were started since the agent was.
    pub started: u64,
    /// Those that started later than a tenth of their interval after they were due.
    pub late: u64,
    /// How late the latest of all was, in milliseconds.
    pub worst_late_ms: u64,
}

/// The session table (`full-nat`), as it was counted last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTableInfo {
    /// Sessions that there may be.
    pub capacity: u64,
    /// Sessions there are.
    pub entries: u64,
    /// Those among them that are not established, or of which one side only was heard of.
    pub opening: u64,
    /// Sessions that the agent took away since it started: they were over, or their backend was.
    pub expired: u64,
}

/// The flow table, and the slots that it is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTableInfo {
    /// Entries there are.
    pub capacity: u64,
    /// Entries in use at the last look.
    pub entries: u64,
    /// Flows that were recorded.
    pub recorded: u64,
    /// Packets whose flow was found.
    pub hits: u64,
    /// Entries that the kernel threw out to make room.
    pub evicted: u64,
    /// SYNs that were not recorded for want of room or because of a flood; harmless, they delay a drain.
    pub refused_opening: u64,
    /// Packets of established connections whose flow was not recorded at that moment; while there are such, slots go on
    /// learning.
    pub refused_established: u64,
    /// UDP packets whose flow was not recorded.
    pub refused_udp: u64,
    /// Slots that changed hands lately: old flows are still being recorded.
    pub slots_learning: u64,
    /// Slots whose old flows are all recorded and not all over.
    pub slots_tracked: u64,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigInfo {
    /// The file.
    pub path: String,
    /// Number of the generation; grows by one with every change that was applied.
    pub generation: u64,
    /// When it was loaded, in seconds since 1970-01-01 UTC.
    pub loaded_unix_seconds: u64,
    /// Hash of its text, hexadecimal.
    pub hash: String,
}

/// An interface that the datapath is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceInfo {
    /// Name.
    pub name: String,
    /// Index in its network namespace.
    pub ifindex: u32,
    /// How XDP is attached.
    pub mode: AttachMode,
    /// The kernel's id of the program.
    pub program_id: u32,
    /// Whether the link was found pinned and taken over, rather than made by this process.
    pub adopted: bool,
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// After the skb is made; slow.
    Generic,
}

/// A bounded table and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUsage {
    /// What is counted, such as `backends`.
    pub name: String,
    /// Entries in use.
    pub used: u64,
    /// Entries there are.
    pub capacity: u64,
}

/// Number of backends by condition. Each backend counts once: as draining when the operator drains it, otherwise
/// by its health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounts {
    /// All.
    pub total: u32,
    /// Healthy and active.
    pub up: u32,
    /// Failed their check.
    pub down: u32,
    /// Drained by the operator.
    pub draining: u32,
    /// In maintenance.
    #[serde(default)]
    pub maintenance: u32,
    /// Not yet checked.
    pub unknown: u32,
}

/// Packets that left the datapath for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Name of the reason, the same as in the metrics.
    pub name: String,
    /// What happened to the packets.
    pub kind: VerdictKind,
    /// How many.
    pub packets: u64,
}

/// What the datapath did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Discarded.
    Drop,
    /// Left to the kernel's stack.
    Pass,
    /// Sent on.
    Forward,
    /// Counted beside what was done with it.
    Note,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipInfo {
    /// The address.
    pub address: IpAddr,
    /// The interface that it is on, if the node has it.
    pub interface: Option<String>,
    /// Whether the agent put it there (and will remove it).
    pub owned: bool,
    /// Length of the prefix, if it is a network: such a one is routed to the node and on no interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_bits: Option<u8>,
    /// Whether `full-nat` sends from it, rather than clients connecting to it.
    #[serde(default)]
    pub sends: bool,
}

impl VipInfo {
    /// An address that is on no interface.
    pub const fn nowhere(address: IpAddr) -> Self {
        Self { address, interface: None, owned: false, prefix_bits: None, sends: false }
    }
}

/// A service: `GET /v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Name.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Every virtual address or network with every port or range: `203.0.113.10:80`, `[2001:db8::10]:30000-32767`,
    /// `203.0.113.0/28:any`.
    pub frontends: Vec<String>,
    /// Name of the pool behind it.
    pub pool: String,
    /// How packets reach the backends.
    pub mode: ForwardMode,
    /// Backends of the pool that take new flows.
    pub backends_up: u32,
    /// All backends of the pool.
    pub backends_total: u32,
    /// Packets received from clients.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// New connections.
    pub new_connections: u64,
    /// How fast those counters grow; none until the agent has looked at them twice.
    pub rates: Option<Rates>,
}

/// Averages between the agent's last two looks at the counters, ten seconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Packets a second.
    pub packets_per_second: u64,
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// New connections a second.
    pub new_connections_per_second: u64,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How packets reach the backends of a pool; spelled as in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardMode {
    /// Destination NAT.
    #[serde(rename = "nat")]
    Nat,
    /// Destination MAC only.
    #[serde(rename = "dsr-l2")]
    DsrL2,
    /// IP in IP.
    #[serde(rename = "dsr-ipip")]
    DsrIpip,
    /// IP in UDP.
    #[serde(rename = "dsr-gue")]
    DsrGue,
    /// Destination and source NAT.
    #[serde(rename = "full-nat")]
    FullNat,
}

/// A backend: `GET /v1/backends`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendInfo {
    /// Pool that it belongs to.
    pub pool: String,
    /// Name, unique in the pool.
    pub name: String,
    /// Its number in the datapath's tables.
    pub index: u32,
    /// Address of the server.
    pub address: IpAddr,
    /// Port of the server; none means the port that the client asked for.
    pub port: Option<u16>,
    /// Share of new flows relative to the pool's other backends.
    pub weight: u32,
    /// What the operator wants of it.
    pub admin_state: AdminState,
    /// What its check says.
    pub health: HealthInfo,
    /// Slots of the pool's table that name it, 0 to 100; always a number, 0 for an empty table.
    pub slot_share_percent: f64,
    /// Where packets to it are sent.
    pub next_hop: NextHop,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// New connections given to it.
    pub new_connections: u64,
    /// Its flows in the flow table, those that slots which it has no more would send elsewhere; and its sessions (`full-nat`).
    #[serde(default)]
    pub remembered_flows: u64,
    /// Time until all its flows of before the last change are known, if they are not yet: until then more may show up
    /// than [`Self::remembered_flows`].
    #[serde(default)]
    pub settles_in_seconds: Option<u64>,
    /// Whether nothing leads to it any more: no slot and no flow.
    #[serde(default)]
    pub drained: bool,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Takes flows while it is healthy.
    #[default]
    Active,
    /// Takes no new flows; keeps those that it has.
    Drain,
    /// Takes no traffic.
    Maintenance,
}

/// What a backend's check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthInfo {
    /// The verdict.
    pub state: HealthState,
    /// How long it has been so.
    pub since_seconds: u64,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Duration of the last probe that was answered, in microseconds.
    pub last_latency_us: Option<u64>,
    /// What its last good answer says of it, such as `read-only, 2 s behind its source`.
    #[serde(default)]
    pub detail: Option<String>,
    /// Time for which it is kept out while others serve, for it went down too often; 0 if it is not.
    #[serde(default)]
    pub held_seconds: u64,
}

/// A check's verdict on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Answers as it should, or has no check.
    Up,
    /// Failed.
    Down,
    /// No result yet.
    Unknown,
}

/// A backend in full: `GET /v1/backends/{pool}/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendDetail {
    /// What the list of backends has of it.
    pub backend: BackendInfo,
    /// Whether it is given new flows.
    pub served: bool,
    /// Whose check decides, `POOL/NAME`, if it is there for when its pool's own backends are down.
    pub standby_of: Option<String>,
    /// Its check, and how it is asked; none without one.
    pub check: Option<CheckInfo>,
    /// Its latest results, the oldest first, at most ten; none while it is not checked.
    pub results: Vec<CheckResult>,
}

/// The check of a backend and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInfo {
    /// Name in the configuration.
    pub name: String,
    /// Its kind, such as `http` or `https`.
    pub kind: String,
    /// Where it asks; none while the backend is not checked (in maintenance, or no port to ask on).
    pub address: Option<SocketAddr>,
    /// Time from one probe to the next, in milliseconds.
    pub interval_ms: u64,
    /// Time that a probe may take, in milliseconds.
    pub timeout_ms: u64,
    /// Good results in a row that bring it up.
    pub rise: u32,
    /// Bad results in a row that take it down.
    pub fall: u32,
    /// Good results in a row up to now.
    pub good_in_a_row: u32,
    /// Bad results in a row up to now.
    pub bad_in_a_row: u32,
    /// Good results since the check began.
    pub good: u64,
    /// Bad results since then.
    pub bad: u64,
    /// Times since then that the node could not ask.
    pub inconclusive: u64,
    /// When the server's certificate expires, in seconds since 1970-01-01 UTC, if it has shown one.
    pub certificate_expires_unix_seconds: Option<u64>,
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// What it means.
    pub verdict: CheckVerdict,
    /// Time that the answer took, in microseconds, if it was good.
    pub latency_us: Option<u64>,
    /// What was found.
    pub message: String,
}

/// What a result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// It answered as it should.
    Good,
    /// It did not.
    Bad,
    /// The node could not ask: says nothing about the backend.
    Inconclusive,
}

/// Where packets to a backend are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum NextHop {
    /// Known.
    Resolved {
        /// Link-layer address, `02:00:00:00:00:01`.
        mac: String,
        /// Name of the interface.
        interface: String,
    },
    /// Not known, so packets cannot be sent from cached data.
    Unresolved {
        /// Why.
        error: String,
    },
}

/// Something that happened: `GET /v1/events`, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number; grows by one with each event since the agent started.
    pub sequence: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_time_ms: u64,
    /// How much it matters.
    pub level: EventLevel,
    /// What kind of thing, such as `backend_down`.
    pub kind: String,
    /// What it happened to, such as `web/web1`.
    pub subject: Option<String>,
    /// A sentence.
    pub message: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventLevel {
    /// As expected.
    Info,
    /// Worth a look.
    Warning,
    /// Something does not work.
    Error,
}
