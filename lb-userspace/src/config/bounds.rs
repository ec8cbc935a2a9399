//! The numbers of the configuration: ranges, defaults and limits, in one place.
//!
//! Role: constants only; the reference in `docs/configuration.md` repeats them for operators.
//! Imports nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Largest configuration file that is read, in bytes (16 MiB).
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// Most problems kept of one file; the others are only counted.
pub const MAX_PROBLEMS_KEPT: usize = 1_000;
/// Most problems shown to a person at once; the others are only counted.
pub const MAX_PROBLEMS_SHOWN: usize = 50;
/// Most characters of the operator's text that a message repeats.
pub const MAX_QUOTED_CHARS: usize = 80;
/// Most names that are compared for a suggestion.
pub const MAX_SUGGESTION_CANDIDATES: usize = 1_000;
/// Longest name that is compared for a suggestion, in bytes.
pub const MAX_SUGGESTION_BYTES: usize = 64;

/// Most frontends of a model, whatever `node.limits` says; the rules that expand frontends rely on it.
pub const MAX_FRONTENDS: usize = 65_536;
/// Most entries of the reverse lookup of the nat pools (frontends of a pool times its backends, summed).
pub const MAX_REVERSE_ENTRIES: usize = 1_048_576;

/// Length of the names of checks, pools, services and backends, in characters.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=63;
/// Length of an interface name, in bytes (`IFNAMSIZ` without the closing zero).
pub const INTERFACE_BYTES: RangeInclusive<usize> = 1..=15;
/// Longest path of a unix socket, in bytes (`sockaddr_un.sun_path` without the closing zero).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Longest path of a file or directory, in bytes (`PATH_MAX` without the closing zero).
pub const MAX_PATH_BYTES: usize = 4_095;
/// Longest path and query of an HTTP check, in bytes.
pub const MAX_HTTP_PATH_BYTES: usize = 2_048;
/// Longest Host header of an HTTP check, in bytes (a DNS name, a colon and a port).
pub const MAX_HTTP_HOST_BYTES: usize = 259;
/// Most ranges in `expect_status`.
pub const MAX_STATUS_RANGES: usize = 64;

/// Most headers of an HTTP check.
pub const MAX_HTTP_HEADERS: usize = 32;
/// Longest name or value of a header, in bytes.
pub const MAX_HTTP_HEADER_BYTES: usize = 1_024;
/// Longest `expect_body`, in bytes.
pub const MAX_BODY_PATTERN_BYTES: usize = 1_024;
/// Longest datagram, and longest part of its answer, of a UDP check, in bytes.
pub const MAX_DATAGRAM_BYTES: usize = 1_024;
/// Longest DNS name without its last dot, in bytes (RFC 1035, 2.3.4, as text).
pub const MAX_DNS_NAME_BYTES: usize = 253;
/// Longest label of a DNS name, in bytes.
pub const MAX_DNS_LABEL_BYTES: usize = 63;
/// Longest service name of a gRPC check, in bytes.
pub const MAX_GRPC_SERVICE_BYTES: usize = 1_024;
/// Longest account name of a MySQL check, in bytes (MariaDB's limit of 80 characters in UTF-8).
pub const MAX_MYSQL_USER_BYTES: usize = 320;
/// Longest password of a MySQL check, in bytes.
pub const MAX_MYSQL_PASSWORD_BYTES: usize = 1_024;
/// Most elements of a command, the program included.
pub const MAX_EXEC_ARGUMENTS: usize = 64;
/// Longest element of a command, in bytes.
pub const MAX_EXEC_BYTES: usize = 4_095;
/// Longest line that an agent is sent, in bytes.
pub const MAX_AGENT_LINE_BYTES: usize = 1_024;

/// `node.limits.services`.
pub const LIMIT_SERVICES: RangeInclusive<u32> = 1..=65_536;
/// `node.limits.backends`.
pub const LIMIT_BACKENDS: RangeInclusive<u32> = 1..=1_048_576;
/// `node.limits.slots`.
pub const LIMIT_SLOTS: RangeInclusive<u32> = 1_024..=67_108_864;
/// `pools.*.slots`; the number must be prime, too.
pub const POOL_SLOTS: RangeInclusive<u32> = 251..=1_048_573;
/// `node.limits.flows`.
pub const LIMIT_FLOWS: RangeInclusive<u32> = 16_384..=16_777_216;
/// `node.limits.sessions`.
pub const LIMIT_SESSIONS: RangeInclusive<u32> = 1_024..=16_777_216;
/// Default of `pools.*.slots`.
pub const DEFAULT_POOL_SLOTS: u32 = 16_381;
/// Weight of a backend.
pub const WEIGHT: RangeInclusive<u32> = 0..=1_000;
/// Default weight of a backend.
pub const DEFAULT_WEIGHT: u32 = 100;
/// Prefix length of an IPv4 network of VIPs or tunnel sources: no such network reaches into loopback or multicast.
pub const NETWORK_BITS_V4: RangeInclusive<u8> = 8..=32;
/// The same of IPv6.
pub const NETWORK_BITS_V6: RangeInclusive<u8> = 16..=128;
/// Most addresses in `pools.*.snat`.
pub const MAX_POOL_SNAT: usize = 64;
/// Most addresses in all `pools.*.snat`: half of those that the datapath has room for, as a change needs old and new.
pub const MAX_SNAT: usize = 512;
/// A port.
pub const PORT: RangeInclusive<u32> = 1..=65_535;
/// `rise` and `fall` of a check.
pub const CHECK_COUNT: RangeInclusive<u32> = 1..=100;
/// Default of `rise`.
pub const DEFAULT_RISE: u32 = 2;
/// Default of `fall`.
pub const DEFAULT_FALL: u32 = 3;
/// HTTP status codes.
pub const HTTP_STATUS: RangeInclusive<u32> = 100..=599;
/// Default of `expect_status`.
pub const DEFAULT_STATUS: (u16, u16) = (200, 399);

/// `interval` of a check.
pub const CHECK_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
/// `timeout` of a check; the check's interval bounds it further.
pub const CHECK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
/// `jitter` of a check; half of the check's interval bounds it further.
pub const CHECK_JITTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(30);
/// `max_lag` of a MySQL check: replicas tell their lag in whole seconds.
pub const MAX_LAG: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// `expiry_warning` of a check; 0 never warns. The end is what messages call a year (365.25 days).
pub const EXPIRY_WARNING: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(8_766);
/// Default of `expiry_warning`.
pub const DEFAULT_EXPIRY_WARNING: Duration = Duration::from_hours(14 * 24);
/// `pools.*.min_healthy`.
pub const MIN_HEALTHY: RangeInclusive<u32> = 1..=1_000;
/// `pools.*.panic_threshold`, in percent.
pub const PANIC_THRESHOLD: RangeInclusive<u32> = 0..=100;
/// `pools.*.flow_timeout`.
pub const FLOW_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// `pools.*.slow_start`; 0 is off, and the default.
pub const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// `pools.*.dead_after`.
pub const DEAD_AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// Default of `interval`.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// Default of `timeout`, where the interval is not shorter.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);

/// Default of `node.control_socket`.
pub const DEFAULT_CONTROL_SOCKET: &str = "/run/lb/lbd.sock";
/// Default of `node.bpffs`.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/lb";
