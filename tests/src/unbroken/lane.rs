//! A lane: one forward mode over one address family, with a VIP and a pool of its own.
//!
//! Imports `site`.

use std::net::{IpAddr, SocketAddr};

use crate::site::{HTTP_PORT, Mode};

/// One mode over one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The forward mode.
    pub mode: Mode,
    /// IPv6 rather than IPv4.
    pub v6: bool,
}

/// Both families of these modes.
pub fn lanes_of(modes: &[Mode]) -> Vec<Lane> {
    modes.iter().flat_map(|&mode| [false, true].map(|v6| Lane { mode, v6 })).collect()
}

impl Lane {
    /// Name of its pool and of its service.
    pub fn pool(self) -> String {
        format!("{}-{}", self.mode.name(), if self.v6 { "v6" } else { "v4" })
    }

    /// The VIP.
    pub fn vip(self) -> IpAddr {
        if self.v6 { self.mode.vip_v6().into() } else { self.mode.vip_v4().into() }
    }

    /// Where clients connect.
    pub fn frontend(self) -> SocketAddr {
        SocketAddr::new(self.vip(), HTTP_PORT)
    }
}
