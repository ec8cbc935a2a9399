//! The few per-interface settings of `/proc/sys/net` that forwarding needs.
//!
//! Always holds: names are checked before they become a path; every change is returned with the old value, so that
//! it can be logged and restored. `/proc/sys/net` shows the network namespace of the calling thread.

use std::fmt::{self, Display};
use std::fs;
use std::path::PathBuf;

/// Where the kernel shows its settings.
const ROOT: &str = "/proc/sys";

/// Longest interface name in bytes (`IFNAMSIZ` - 1).
const NAME_BYTES_MAX: usize = 15;

/// Interfaces whose router advertisements are protected while another one starts to forward.
const PROTECTED_INTERFACES_LIMIT: usize = 65_536;

/// The IP version that a setting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A setting that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Not an interface name; `all` and `default` are none either.
    #[error("{name:?} is not the name of an interface (1 to 15 bytes without `/` and white space)")]
    InvalidName {
        /// What was given.
        name: String,
    },
    /// The file could not be read or written.
    #[error("cannot {operation} /proc/sys/{key}: {source}")]
    Io {
        /// `read` or `write`.
        operation: &'static str,
        /// The setting.
        key: String,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel shows something that is no number.
    #[error("/proc/sys/{key} is {value:?}, which is no number")]
    NotANumber {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
}

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting, as `sysctl` takes it: `net/ipv4/conf/eth0.5/forwarding` (with slashes, because names have dots).
    pub key: String,
    /// Value before.
    pub old: i32,
    /// Value now.
    pub new: i32,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.old, self.new)
    }
}

/// Whether packets that come in through the interface are forwarded.
///
/// # Errors
/// When the name is invalid or the setting cannot be read.
pub fn forwarding(ifname: &str, family: Family) -> Result<bool, SysctlError> {
    Ok(read(&key(family, ifname, "forwarding")?)? != 0)
}

/// Sets whether packets that come in through the interface are forwarded. For IPv6 see [`enable_forwarding`].
///
/// # Errors
/// When the name is invalid or the setting cannot be read or written.
pub fn set_forwarding(ifname: &str, family: Family, on: bool) -> Result<Option<Change>, SysctlError> {
    set(key(family, ifname, "forwarding")?, i32::from(on))
}

/// Whether packets from a source address of the node itself are accepted on the interface (IPv4).
///
/// # Errors
/// When the name is invalid or the setting cannot be read.
pub fn accept_local(ifname: &str) -> Result<bool, SysctlError> {
    Ok(read(&key(Family::V4, ifname, "accept_local")?)? != 0)
}

/// Sets whether packets from a source address of the node itself are accepted on the interface (IPv4).
///
/// # Errors
/// When the name is invalid or the setting cannot be read or written.
pub fn set_accept_local(ifname: &str, on: bool) -> Result<Option<Change>, SysctlError> {
    set(key(Family::V4, ifname, "accept_local")?, i32::from(on))
}

/// How strictly the sources of packets that come in through the interface are checked (RFC 3704): 0 not at all, 1 they must
/// be reached by the interface, 2 they must be reached at all. The setting of all interfaces counts if it is greater.
///
/// # Errors
/// When the name is invalid or the settings cannot be read.
pub fn reverse_path_filter(ifname: &str) -> Result<i32, SysctlError> {
    let own = read(&key(Family::V4, ifname, "rp_filter")?)?;
    Ok(own.max(read("net/ipv4/conf/all/rp_filter")?))
}

/// Whether router advertisements are accepted: 0 never, 1 unless forwarding, 2 always.
///
/// # Errors
/// When the name is invalid or the setting cannot be read.
pub fn accept_ra(ifname: &str) -> Result<i32, SysctlError> {
    read(&key(Family::V6, ifname, "accept_ra")?)
}

/// Sets whether router advertisements are accepted: 0 never, 1 unless forwarding, 2 always.
///
/// # Errors
/// When the name is invalid or the setting cannot be read or written.
pub fn set_accept_ra(ifname: &str, value: i32) -> Result<Option<Change>, SysctlError> {
    set(key(Family::V6, ifname, "accept_ra")?, value)
}

/// Makes the node forward what comes in through the interface, IPv4 and IPv6 (unless the kernel has no IPv6), and
/// returns what was changed, in order. Where the kernel has it (6.17), IPv6 `force_forwarding` is set too, because
/// the interface's own `forwarding` then counts for the stack and not only for `bpf_fib_lookup`.
///
/// Router advertisements keep working: a forwarding interface would ignore them, so `accept_ra` 1 becomes 2 there;
/// and because the kernel drops the default routes learned by *every* interface with `accept_ra` 1 at that moment,
/// the other interfaces have 2 while it happens.
///
/// # Errors
/// When the name is invalid or a setting cannot be read or written; what was changed until then is restored.
pub fn enable_forwarding(ifname: &str) -> Result<Vec<Change>, SysctlError> {
    let mut changes = Vec::new();
    match apply_forwarding(ifname, &mut changes) {
        Ok(()) => Ok(changes),
        Err(error) => {
            if let Err(second) = restore(&changes) {
                tracing::warn!(%second, "a setting could not be restored");
            }
            Err(error)
        }
    }
}

/// Puts old values back, the last change first. Settings of interfaces that are gone are skipped.
///
/// # Errors
/// The first failure, after all others were tried.
pub fn restore(changes: &[Change]) -> Result<(), SysctlError> {
    let mut result = Ok(());
    for change in changes.iter().rev() {
        match write(&change.key, change.old) {
            Err(SysctlError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            outcome => result = result.and(outcome),
        }
    }
    result
}

fn apply_forwarding(ifname: &str, changes: &mut Vec<Change>) -> Result<(), SysctlError> {
    changes.extend(set_forwarding(ifname, Family::V4, true)?);
    let accept_ra = key(Family::V6, ifname, "accept_ra")?;
    if !path(&accept_ra).exists() {
        return Ok(());
    }
    if read(&accept_ra)? == 1 {
        changes.extend(set(accept_ra, 2)?);
    }
    if !forwarding(ifname, Family::V6)? {
        let protected = protect_router_advertisements();
        let result = set_forwarding(ifname, Family::V6, true);
        restore(&protected)?;
        changes.extend(result?);
    }
    let force_forwarding = key(Family::V6, ifname, "force_forwarding")?;
    if path(&force_forwarding).exists() {
        changes.extend(set(force_forwarding, 1)?);
    }
    Ok(())
}

/// Sets `accept_ra` of every interface that has 1 to 2; returns what to restore. An interface that goes away
/// meanwhile needs no protection, so failures are left out.
fn protect_router_advertisements() -> Vec<Change> {
    let Ok(entries) = fs::read_dir(path("net/ipv6/conf")) else {
        return Vec::new();
    };
    entries
        .take(PROTECTED_INTERFACES_LIMIT)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| matches!(accept_ra(name), Ok(1)))
        .filter_map(|name| set_accept_ra(&name, 2).ok()?)
        .collect()
}

fn key(family: Family, ifname: &str, setting: &str) -> Result<String, SysctlError> {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    if is_interface_name(ifname) {
        Ok(format!("net/{family}/conf/{ifname}/{setting}"))
    } else {
        Err(SysctlError::InvalidName { name: ifname.to_owned() })
    }
}

/// The kernel's own rule (`dev_valid_name`), without the two names that stand for other things here.
fn is_interface_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte != b'/' && byte != b':' && !byte.is_ascii_whitespace() && byte != 0;
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !matches!(name, "." | ".." | "all" | "default")
        && name.bytes().all(is_allowed)
}

fn path(key: &str) -> PathBuf {
    PathBuf::from(ROOT).join(key)
}

fn read(key: &str) -> Result<i32, SysctlError> {
    let text = fs::read_to_string(path(key)).map_err(|source| SysctlError::Io {
        operation: "read",
        key: key.to_owned(),
        source,
    })?;
    text.trim()
        .parse()
        .map_err(|_| SysctlError::NotANumber { key: key.to_owned(), value: text.trim().to_owned() })
}

fn write(key: &str, value: i32) -> Result<(), SysctlError> {
    fs::write(path(key), value.to_string()).map_err(|source| SysctlError::Io {
        operation: "write",
        key: key.to_owned(),
        source,
    })
}

/// Writes a value unless it is there already.
fn set(key: String, new: i32) -> Result<Option<Change>, SysctlError> {
    let old = read(&key)?;
    if old == new {
        return Ok(None);
    }
    write(&key, new)?;
    Ok(Some(Change { key, old, new }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_interfaces_and_paths_are_not() {
        assert_eq!(key(Family::V4, "eth0.5", "forwarding").unwrap(), "net/ipv4/conf/eth0.5/forwarding");
        for name in ["", ".", "..", "../lo", "a/b", "a b", "all", "default", "sixteen-bytes-xx", "a\n", "a\0"]
        {
            assert!(
                matches!(key(Family::V6, name, "forwarding"), Err(SysctlError::InvalidName { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn a_missing_interface_is_an_error_that_names_the_setting() {
        let error = forwarding("no-such-if0", Family::V4).unwrap_err().to_string();
        assert!(error.contains("/proc/sys/net/ipv4/conf/no-such-if0/forwarding"), "{error}");
    }

    #[test]
    fn restoring_a_missing_interface_is_no_error() {
        let key = key(Family::V4, "no-such-if0", "forwarding").unwrap();
        restore(&[Change { key, old: 0, new: 1 }]).unwrap();
    }
}
