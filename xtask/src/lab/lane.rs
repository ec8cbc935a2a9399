//! A lane: one forward mode over one address family, with a VIP and a pool of its own in the web lab.
//!
//! Role: names for what the lab counts by. Imports the lab library's `site` only.
//! Always holds: requests cycle through [`Lane::ALL`], so every lane gets the same number.

use std::net::{IpAddr, SocketAddr};

use lb_tests::site::{HTTP_PORT, Mode};

/// Web servers of the lab.
pub const WEBS: u8 = 3;

/// [`WEBS`], for arrays.
pub const WEB_COUNT: usize = WEBS as usize;

/// Number of lanes.
pub const LANES: u8 = 6;

/// [`LANES`], for arrays.
pub const LANE_COUNT: usize = LANES as usize;

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One mode over one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The forward mode.
    pub mode: Mode,
    /// The address family.
    pub family: Family,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; LANE_COUNT] = [
        Self { mode: Mode::Nat, family: Family::V4 },
        Self { mode: Mode::Nat, family: Family::V6 },
        Self { mode: Mode::DsrL2, family: Family::V4 },
        Self { mode: Mode::DsrL2, family: Family::V6 },
        Self { mode: Mode::DsrIpip, family: Family::V4 },
        Self { mode: Mode::DsrIpip, family: Family::V6 },
    ];

    /// Place in [`Lane::ALL`] of the request with this number.
    pub fn of_request(number: u32) -> usize {
        usize::try_from(number).map_or(0, |number| number % LANE_COUNT)
    }

    /// The VIP.
    pub fn vip(self) -> IpAddr {
        match self.family {
            Family::V4 => self.mode.vip_v4().into(),
            Family::V6 => self.mode.vip_v6().into(),
        }
    }

    /// Where clients connect to.
    pub fn server(self) -> SocketAddr {
        SocketAddr::new(self.vip(), HTTP_PORT)
    }

    /// Name of the pool, as `WebFleet::config` writes it.
    pub fn pool(self) -> String {
        let family = match self.family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        format!("{}-{family}", self.mode.name())
    }

    /// The family as people write it.
    pub fn family_name(self) -> &'static str {
        match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// Name of a web server by its place.
pub fn web_name(web: usize) -> String {
    format!("web{}", web + 1)
}

/// Place of a web server by its name.
pub fn web_by_name(name: &str) -> Option<usize> {
    (0..WEB_COUNT).find(|web| web_name(*web) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_cover_every_mode_and_both_families_once() {
        for mode in Mode::ALL {
            for vip in mode.vips() {
                assert_eq!(Lane::ALL.iter().filter(|lane| lane.vip() == vip).count(), 1, "{vip}");
            }
        }
        assert_eq!(Lane::ALL.len(), Mode::ALL.len() * 2);
    }

    #[test]
    fn the_names_are_those_of_the_configuration() {
        assert_eq!(Lane::ALL[5].pool(), "dsr-ipip-v6");
        assert_eq!((web_by_name("web3"), web_by_name("web4"), web_by_name("")), (Some(2), None, None));
    }
}
