//! Health checks: what is asked of a backend, how often, and what counts as an answer.
//!
//! Always holds: equal checks ask equal questions, so that targets which share an address and a check share a probe.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A health check, shared by the pools that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked of the backend.
    pub kind: CheckKind,
    /// Time from the start of one probe to the start of the next; 10 ms to 1 h. The default is 1 s.
    pub interval: Duration,
    /// Time a probe may take; 1 ms up to `interval`. The default is 500 ms, or the interval if that is less.
    pub timeout: Duration,
    /// Good results in a row that bring a backend up; 1 to 100. The default is 2.
    pub rise: u32,
    /// Bad results in a row that take a backend down; 1 to 100. The default is 3.
    pub fall: u32,
    /// A probe starts up to this much earlier than its interval says, at random; 0 (the default) to half of the interval.
    pub jitter: Duration,
    /// Whether a backend that goes down again and again is kept out for a while. The default is that it is.
    pub damping: bool,
    /// Port to probe instead of the backend's own.
    pub port: Option<u16>,
    /// Address to probe from; without one the kernel chooses.
    pub source: Option<IpAddr>,
}

impl Check {
    /// A check of a kind, with the defaults of everything else.
    pub const fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            jitter: Duration::ZERO,
            damping: true,
            port: None,
            source: None,
        }
    }

    /// How the check speaks TLS, where it does.
    pub const fn tls(&self) -> Option<&TlsCheck> {
        match &self.kind {
            CheckKind::Http(HttpCheck { tls, .. }) | CheckKind::Grpc(GrpcCheck { tls, .. }) => tls.as_ref(),
            _ => None,
        }
    }

    /// The role that a database must have, where the check looks for one.
    pub const fn role(&self) -> Option<Role> {
        match &self.kind {
            CheckKind::Mysql(mysql) => mysql.role(),
            _ => None,
        }
    }
}

/// What a check asks of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP request is answered as expected; with TLS it is HTTPS.
    Http(HttpCheck),
    /// A datagram is answered.
    Udp(UdpCheck),
    /// A DNS question is answered as expected (RFC 1035).
    Dns(DnsCheck),
    /// The gRPC health service says that it serves (grpc.health.v1).
    Grpc(GrpcCheck),
    /// A MySQL or MariaDB server lets clients in, and has the role that is wanted.
    Mysql(MysqlCheck),
    /// A command ends with status 0.
    Exec(ExecCheck),
    /// A program beside the server says how it is (the answers of HAProxy's agent-check).
    Agent(AgentCheck),
}

/// The request and the answer of an HTTP check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// `GET` or `HEAD`. The default is `GET`.
    pub method: String,
    /// Path and query; starts with `/`. The default is `/`.
    pub path: String,
    /// Value of the Host header. The default is the backend's address.
    pub host: Option<String>,
    /// More headers of the request, in the order of the file; neither Host nor Connection is among them.
    pub headers: Vec<(String, String)>,
    /// The version of HTTP. The default is 1.1.
    pub version: HttpVersion,
    /// Status codes that count as good. The default is 200 to 399.
    pub expect_status: StatusSet,
    /// What the beginning of the body must contain.
    pub expect_body: Option<BodyPattern>,
    /// With TLS or without.
    pub tls: Option<TlsCheck>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            version: HttpVersion::Http1,
            expect_status: StatusSet(vec![(200, 399)]),
            expect_body: None,
            tls: None,
        }
    }
}

/// The version of HTTP that a check speaks. Nothing is negotiated down: a server that does not speak it fails the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113); without TLS by prior knowledge.
    Http2,
}

/// A regular expression; its text was compiled once and found valid.
#[derive(Clone, Debug)]
pub struct BodyPattern(pub regex::bytes::Regex);

impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for BodyPattern {}

/// How a check speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Whether the certificate must be valid: in date, of the right name, signed by a known authority. The default is yes.
    pub verify: bool,
    /// The name to ask for (SNI) and to find in the certificate. The default is the check's host without its port, else the
    /// backend's address.
    pub server_name: Option<String>,
    /// PEM file of the authorities that may have signed. The default is the system's own.
    pub ca: Option<PathBuf>,
    /// A certificate that expires sooner than this is told of; 0 (never) to 1 year. The default is 14 days.
    pub expiry_warning: Duration,
}

/// A host as a URL has it, without its port and, if it is an IPv6 address, its brackets.
pub fn host_without_port(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    if let Some((address, _port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.split_once(':').map_or(host, |(name, _port)| name)
}

/// A set of HTTP status codes, as inclusive ranges within 100 to 599; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl StatusSet {
    /// Whether `status` is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

/// A datagram and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpCheck {
    /// What is sent; 1 to 1,024 bytes.
    pub send: Vec<u8>,
    /// What the answer must contain; any answer will do without it.
    pub expect: Option<Vec<u8>>,
}

/// A DNS question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// The name that is asked for, as the file has it; valid.
    pub query: String,
    /// The type of record that is asked for. The default is A.
    pub record: DnsType,
    /// Whether an answer without such a record counts as good. The default is that it does not.
    pub allow_empty: bool,
    /// Whether the question goes by TCP rather than UDP.
    pub tcp: bool,
}

/// A type of DNS record (RFC 1035, 3.2.2; RFC 3596).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Canonical name.
    Cname,
    /// Mail exchanger.
    Mx,
    /// Name server.
    Ns,
    /// Start of authority.
    Soa,
    /// Text.
    Txt,
}

/// A question to the gRPC health service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service that is asked for; empty, the default, is the server as a whole.
    pub service: String,
    /// With TLS or without.
    pub tls: Option<TlsCheck>,
}

/// How a MySQL or MariaDB server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MysqlCheck {
    /// Without an account the server's greeting is all that is looked at.
    pub account: Option<MysqlAccount>,
}

impl MysqlCheck {
    const fn role(&self) -> Option<Role> {
        match &self.account {
            Some(account) => Some(account.role),
            None => None,
        }
    }
}

/// The account that a check logs in with, and what it then looks for.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlAccount {
    /// Name of the account.
    pub user: String,
    /// Its password, if the configuration has it.
    pub password: Option<String>,
    /// File whose first line is the password, read at each login. Not beside `password`.
    pub password_file: Option<PathBuf>,
    /// What the server must be.
    pub role: Role,
    /// A replica that is further behind its source does not serve; 1 s to 24 h.
    pub max_lag: Option<Duration>,
}

impl std::fmt::Debug for MysqlAccount {
    /// Without the password: what is debugged ends up in logs.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("MysqlAccount")
            .field("user", &self.user)
            .field("role", &self.role)
            .field("max_lag", &self.max_lag)
            .finish_non_exhaustive()
    }
}

/// What a database server is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The one that may be written to.
    Primary,
    /// Those that may not, and follow it.
    Replica,
    /// Either.
    Any,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck {
    /// Program (an absolute path) and arguments; `{address}` and `{port}` in an argument stand for the backend's.
    pub command: Vec<String>,
}

/// An agent and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCheck {
    /// A line that is sent first, without its end; empty, the default, for none.
    pub send: String,
}
