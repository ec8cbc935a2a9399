//! Bridges: one Ethernet segment for many hosts.

use anyhow::Result;

use super::host::Host;
use super::link::{End, Link};
use super::tool;

/// Name of the bridge interface in its namespace.
const INTERFACE: &str = "bridge";

/// A learning Ethernet bridge in a namespace of its own.
pub struct Bridge {
    host: Host,
}

impl Bridge {
    pub(super) fn create(host: Host) -> Result<Self> {
        // A switch has no addresses of its own on the segment.
        host.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        tool::ip_batch(
            host.netns(),
            &[
                // Ports forward at once, and multicast (IPv6 neighbour discovery) goes everywhere.
                format!("link add {INTERFACE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
                format!("link set dev {INTERFACE} up"),
            ],
        )?;
        Ok(Self { host })
    }

    /// Joins a host to the segment. The port is named after the host; cutting the link takes the port down.
    ///
    /// # Errors
    /// When the interface name is taken, the host has a leg on this bridge already, or an address is malformed.
    pub fn join(&self, end: End) -> Result<Link> {
        // Interface names are short; the first letters of a host's name say enough.
        let port: String = end.host_name().chars().take(15).collect();
        let bridge_end = End::new(&self.host, &port).mtu(end.mtu_bytes());
        let link = Link::create(end, bridge_end)?;
        self.host.ip(&format!("link set dev {port} master {INTERFACE}"))?;
        Ok(link)
    }

    /// The namespace of the bridge, for captures at its ports.
    pub fn host(&self) -> &Host {
        &self.host
    }
}
