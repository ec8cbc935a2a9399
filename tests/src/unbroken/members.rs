//! Which servers are in which pool, with which weight: what the lab has made of the configuration so far.
//!
//! Imports `lane`, `site` (for addresses). Always holds: it says the same as the configuration file, as it is changed
//! with every edit that the agent accepted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::lane::Lane;
use crate::site::{HTTP_PORT, Mode, Web};

/// Weight of a backend that nobody changed.
pub const DEFAULT_WEIGHT: u32 = 100;

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its weight.
    pub weight: u32,
    /// Whether it is drained, and since which change.
    pub drained_at: Option<u32>,
}

impl Default for Member {
    fn default() -> Self {
        Self { weight: DEFAULT_WEIGHT, drained_at: None }
    }
}

/// The backends of every lane, by the number of their web server (0 is `web1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    lanes: BTreeMap<Lane, BTreeMap<usize, Member>>,
}

impl Members {
    /// The first `count` web servers in every lane.
    pub fn new(lanes: &[Lane], count: usize) -> Self {
        let first = || (0..count).map(|web| (web, Member::default())).collect();
        Self { lanes: lanes.iter().map(|lane| (*lane, first())).collect() }
    }

    /// Every lane.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> + '_ {
        self.lanes.keys().copied()
    }

    /// The backends of a lane.
    pub fn of(&self, lane: Lane) -> impl Iterator<Item = (usize, Member)> + '_ {
        self.lanes.get(&lane).into_iter().flatten().map(|(web, member)| (*web, *member))
    }

    /// The backends of a lane that take new flows.
    pub fn active(&self, lane: Lane) -> impl Iterator<Item = usize> + '_ {
        self.of(lane).filter(|(_, member)| member.drained_at.is_none()).map(|(web, _)| web)
    }

    /// The backends of a lane that are drained, with the number of the change that drained them.
    pub fn drained(&self, lane: Lane) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.of(lane).filter_map(|(web, member)| Some((web, member.drained_at?)))
    }

    /// Whether a web server is in a lane.
    pub fn has(&self, lane: Lane, web: usize) -> bool {
        self.lanes.get(&lane).is_some_and(|members| members.contains_key(&web))
    }

    /// Puts a backend, new or not.
    pub fn put(&mut self, lane: Lane, web: usize, member: Member) {
        self.lanes.entry(lane).or_default().insert(web, member);
    }

    /// Changes a backend, if it is there.
    pub fn change(&mut self, lane: Lane, web: usize, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.lanes.get_mut(&lane).and_then(|members| members.get_mut(&web)) {
            change(member);
        }
    }

    /// Takes a backend away.
    pub fn remove(&mut self, lane: Lane, web: usize) {
        if let Some(members) = self.lanes.get_mut(&lane) {
            members.remove(&web);
        }
    }

    /// Pools and services, as the configuration has them. `pool_keys` is written in every pool.
    pub fn config(&self, webs: &[Web], pool_keys: &str) -> String {
        let mut text = String::new();
        for lane in self.lanes() {
            let (name, mode, vip) = (lane.pool(), lane.mode.name(), lane.vip());
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\n[pools.{name}]\nmode = \"{mode}\"\ncheck = \"web\"\n{pool_keys}backends = ["
            );
            for (web, member) in self.of(lane) {
                let Some(address) = webs.get(web).map(|web| backend_address(lane, web)) else { continue };
                let state = if member.drained_at.is_some() { ", state = \"drain\"" } else { "" };
                let (name, weight) = (web_name(web), member.weight);
                let _ = writeln!(
                    text,
                    "    {{ name = \"{name}\", address = \"{address}\", weight = {weight}{state} }},"
                );
            }
            let _ = writeln!(
                text,
                "]\n\n[services.{name}]\nvips = [\"{vip}\"]\nports = [{HTTP_PORT}]\nprotocol = \"tcp\"\npool = \"{name}\""
            );
        }
        text
    }
}

/// Name of a web server.
pub fn web_name(web: usize) -> String {
    format!("web{}", web + 1)
}

/// Address of a web server as a backend of a lane: with a port where the mode can change it.
pub fn backend_address(lane: Lane, web: &Web) -> String {
    let address = if lane.v6 { web.v6.into() } else { IpAddr::from(web.v4) };
    match lane.mode {
        Mode::Nat => SocketAddr::new(address, HTTP_PORT).to_string(),
        Mode::DsrL2 | Mode::DsrIpip => address.to_string(),
    }
}
