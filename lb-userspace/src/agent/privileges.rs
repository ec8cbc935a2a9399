//! Whether the agent may do what it has to, asked before anything is changed.

use super::AgentError;

/// Capabilities that the agent needs, by number (capabilities(7)). `SYS_ADMIN` is for mounting a bpffs and for kernels
/// before `CAP_BPF`.
const NEEDED: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_SYS_ADMIN", 21), ("CAP_BPF", 39)];

/// Checks the effective capabilities of this process.
///
/// # Errors
/// [`AgentError::Privileges`] with all that are missing.
pub fn check() -> Result<(), AgentError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|source| AgentError::System { what: "reading /proc/self/status", source })?;
    let missing = missing(&status);
    if missing.is_empty() { Ok(()) } else { Err(AgentError::Privileges { missing: missing.join(", ") }) }
}

/// Names of the needed capabilities that `status` (the text of `/proc/PID/status`) does not show as effective.
fn missing(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let bits = effective.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    NEEDED.iter().filter(|(_, number)| bits & (1 << number) == 0).map(|(name, _)| *name).collect()
}

/// Raises the limit of open files to what the system allows: every health check needs one.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("cannot raise the limit of open files: {error}; many checks at once may have to wait");
    }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn capabilities_are_read_from_the_status() {
        assert!(missing("Name:\tlbd\nCapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(missing("CapEff:\t0000000000000000\n").len(), 4);
        assert_eq!(missing("CapEff:\t0000000000203000\n"), ["CAP_BPF"]);
        assert_eq!(missing("").len(), 4);
    }
}
