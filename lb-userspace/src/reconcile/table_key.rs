//! Which slot table a frontend's flows fall on.

use crate::model::{Pool, Prefix};
use std::fmt;
use std::net::IpAddr;

/// A slot table: a pool's, and in modes that keep the family one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey<P = String> {
    /// The pool.
    pub pool: P,
    /// Whose backends are in it.
    pub families: Families,
}

/// Families of the backends of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Families {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Either: tunnels.
    Both,
}

impl Families {
    /// Those that may serve a VIP.
    pub const fn of(pool: &Pool, vip: Prefix) -> Self {
        match (pool.mode.is_tunnel(), vip.is_ipv4()) {
            (true, _) => Self::Both,
            (false, true) => Self::V4,
            (false, false) => Self::V6,
        }
    }

    /// Whether a backend with that address is among them.
    pub const fn admit(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Both => true,
        }
    }
}

impl TableKey<&str> {
    /// The same, on its own.
    pub fn owned(self) -> TableKey {
        TableKey { pool: self.pool.to_owned(), families: self.families }
    }
}

/// `web`, or `web (IPv6)`.
impl<P: fmt::Display> fmt::Display for TableKey<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.families {
            Families::V4 => write!(formatter, "{} (IPv4)", self.pool),
            Families::V6 => write!(formatter, "{} (IPv6)", self.pool),
            Families::Both => self.pool.fmt(formatter),
        }
    }
}
