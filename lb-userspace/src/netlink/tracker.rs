//! What is known about the way to every destination in use, and how it is brought up to date.
//!
//! Always holds after [`Tracker::look_again`] succeeded: there is one route result per destination, every link, and one
//! upkeep per neighbour in use and no other. Gateways that routes were led away from for their silence count as in use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

use super::connection::REQUESTS_IN_FLIGHT;
use super::events::Changes;
use super::next_hop::{assemble, egress_mac};
use super::resolver::LinkTable;
use super::route::Route;
use super::upkeep::{Question, Upkeep};
use super::{Mac, Neighbour, NeighbourKey, NeighbourState, Netlink, NetlinkError, NextHop, NextHopError};

/// How often the default routes are read again without an event. Less often than the rest, because all routes have
/// to be read to find them.
const GATEWAY_RESYNC_INTERVAL: Duration = Duration::from_mins(1);

/// Gateways that are followed at most; a node has one or two.
const GATEWAYS_LIMIT: usize = 256;

/// A gateway that fell silent, and that no route uses any more, is asked for this long whether it is back: where routes
/// have several next hops the kernel goes back to it only then.
const LOST_GATEWAY_TIME: Duration = Duration::from_hours(1);

/// Questions sent in one round of [`Tracker::ask`]: with a round every 200 ms, 5,120 neighbours are confirmed every 8 s.
const QUESTIONS_PER_ROUND: usize = 128;

/// The state of one resolver session.
pub(super) struct Tracker {
    netlink: Netlink,
    follow_default_gateways: bool,
    routes: BTreeMap<IpAddr, Result<Route, NextHopError>>,
    links: LinkTable,
    gateways: BTreeSet<NeighbourKey>,
    gateways_read_at: Option<Instant>,
    /// Gateways that fell silent and are not on any way now, and since when.
    lost: BTreeMap<NeighbourKey, Instant>,
    neighbours: BTreeMap<NeighbourKey, Upkeep>,
}

impl Tracker {
    /// Knows nothing yet.
    pub fn new(netlink: Netlink, follow_default_gateways: bool) -> Self {
        Self {
            netlink,
            follow_default_gateways,
            routes: BTreeMap::new(),
            links: LinkTable::default(),
            gateways: BTreeSet::new(),
            gateways_read_at: None,
            lost: BTreeMap::new(),
            neighbours: BTreeMap::new(),
        }
    }

    /// Leaves out changes of neighbours that are not in use.
    pub fn relevant(&self, mut changes: Changes) -> Changes {
        changes.neighbours.retain(|key| self.neighbours.contains_key(key));
        changes
    }

    /// Asks the kernel again about what changed.
    ///
    /// # Errors
    /// When the connection is of no use any more; other failures become the result of their destination.
    pub async fn look_again(
        &mut self,
        destinations: &BTreeSet<IpAddr>,
        changes: &Changes,
    ) -> Result<(), NetlinkError> {
        let now = Instant::now();
        let gateways_are_old =
            self.gateways_read_at.is_none_or(|at| now.duration_since(at) >= GATEWAY_RESYNC_INTERVAL);
        if self.follow_default_gateways && (changes.default_routes || gateways_are_old) {
            self.read_gateways(now).await?;
        }
        if changes.everything {
            self.read_routes(destinations).await?;
        }
        if changes.everything || changes.default_routes {
            self.read_links().await?;
        }
        self.lost.retain(|_, since| now.saturating_duration_since(*since) < LOST_GATEWAY_TIME);
        let before = self.silent_gateways();
        self.look_at_neighbours(|key| changes.everything || changes.neighbours.contains(key)).await?;
        let silent = self.silent_gateways();
        if silent == before {
            return Ok(());
        }
        // Of several next hops the kernel may choose others now.
        self.read_routes(destinations).await?;
        self.remember_lost(&silent, now);
        self.look_at_neighbours(|_| false).await
    }

    /// Reads the neighbours in use that are new or that `is_due` names, and forgets the others.
    async fn look_at_neighbours(
        &mut self,
        is_due: impl Fn(&NeighbourKey) -> bool,
    ) -> Result<(), NetlinkError> {
        let wanted = self.wanted_neighbours();
        self.neighbours.retain(|key, _| wanted.contains(key));
        let is_new_or_due = |key: &NeighbourKey| is_due(key) || !self.neighbours.contains_key(key);
        let keys: Vec<_> = wanted.into_iter().filter(is_new_or_due).collect();
        self.read_neighbours(keys).await
    }

    /// Gateways that do not answer.
    fn silent_gateways(&self) -> BTreeSet<NeighbourKey> {
        let used = self.gateways_in_use();
        let candidates = used.iter().chain(self.lost.keys()).copied();
        let is_silent = |key: &NeighbourKey| {
            self.neighbours.get(key).is_some_and(|upkeep| upkeep.state() == NeighbourState::Failed)
        };
        candidates.filter(is_silent).collect()
    }

    /// Gateways on the way to some destination.
    fn gateways_in_use(&self) -> BTreeSet<NeighbourKey> {
        let routes = self.routes.iter().filter_map(|(destination, route)| {
            let route = route.as_ref().ok()?;
            route.gateway.map(|_| route.neighbour(*destination))
        });
        routes.collect()
    }

    /// Keeps those of the `silent` gateways in mind that routes do not use any more.
    fn remember_lost(&mut self, silent: &BTreeSet<NeighbourKey>, now: Instant) {
        let used = self.gateways_in_use();
        self.lost.retain(|key, _| silent.contains(key) && !used.contains(key));
        for key in silent.difference(&used) {
            if self.lost.len() < GATEWAYS_LIMIT {
                self.lost.entry(*key).or_insert(now);
            }
        }
    }

    async fn read_gateways(&mut self, now: Instant) -> Result<(), NetlinkError> {
        match self.netlink.default_gateways().await {
            Ok(gateways) => {
                if gateways.len() > GATEWAYS_LIMIT {
                    let (count, limit) = (gateways.len(), GATEWAYS_LIMIT);
                    tracing::warn!(count, limit, "too many default gateways; the rest is not kept resolved");
                }
                self.gateways = gateways.into_iter().take(GATEWAYS_LIMIT).collect();
                self.gateways_read_at = Some(now);
                Ok(())
            }
            Err(error) => keep_if_usable(error, "default routes"),
        }
    }

    async fn read_routes(&mut self, destinations: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        let netlink = &self.netlink;
        self.routes = stream::iter(destinations.iter().copied())
            .map(|destination| async move { (destination, netlink.route(destination).await) })
            .buffer_unordered(REQUESTS_IN_FLIGHT)
            .collect()
            .await;
        let fatal = self.routes.values().find_map(|route| match route {
            Err(NextHopError::Netlink(error)) if error.ends_connection() => Some(error.clone()),
            _ => None,
        });
        fatal.map_or(Ok(()), Err)
    }

    async fn read_links(&mut self) -> Result<(), NetlinkError> {
        match self.netlink.links().await {
            Ok(links) => {
                self.links = Arc::new(links.into_iter().map(|link| (link.index, link)).collect());
                Ok(())
            }
            Err(error) => keep_if_usable(error, "interfaces"),
        }
    }

    /// Every interface, as last read.
    pub fn links(&self) -> &LinkTable {
        &self.links
    }

    /// The neighbours that packets go to now: of every destination that has a usable interface, and the gateways.
    fn wanted_neighbours(&self) -> BTreeSet<NeighbourKey> {
        let of_destinations = self
            .routes
            .iter()
            .filter_map(|(destination, route)| Some(route.as_ref().ok()?.neighbour(*destination)));
        of_destinations
            .chain(self.gateways.iter().copied())
            .chain(self.lost.keys().copied())
            .filter(|key| egress_mac(key.address, self.links.get(&key.ifindex)).is_ok())
            .collect()
    }

    async fn read_neighbours(&mut self, keys: Vec<NeighbourKey>) -> Result<(), NetlinkError> {
        let netlink = &self.netlink;
        let answers: Vec<_> = stream::iter(keys)
            .map(|key| async move { (key, netlink.neighbour(key).await) })
            .buffer_unordered(REQUESTS_IN_FLIGHT)
            .collect()
            .await;
        let now = Instant::now();
        for (key, answer) in answers {
            match answer {
                Ok(neighbour) => self.observe(key, neighbour, now),
                Err(error) => keep_if_usable(error, "neighbour")?,
            }
        }
        Ok(())
    }

    fn observe(&mut self, key: NeighbourKey, neighbour: Neighbour, now: Instant) {
        self.neighbours
            .entry(key)
            .and_modify(|upkeep| upkeep.observe(neighbour, now))
            .or_insert_with(|| Upkeep::new(neighbour, now));
    }

    /// Makes the kernel resolve and confirm the neighbours that are due, longest overdue first.
    ///
    /// # Errors
    /// When the connection is of no use any more.
    pub async fn ask(&mut self) -> Result<(), NetlinkError> {
        let now = Instant::now();
        let mut due: Vec<_> = self
            .neighbours
            .iter()
            .filter_map(|(key, upkeep)| upkeep.due(now).map(|(at, question)| (at, *key, question)))
            .collect();
        due.sort_unstable_by_key(|(at, key, _)| (*at, *key));
        due.truncate(QUESTIONS_PER_ROUND);
        for (_, key, question) in due {
            let result = match question {
                Question::Resolve => self.netlink.ask_for_neighbour(key).await,
                Question::Confirm => self.netlink.confirm_neighbour(key).await,
            };
            if let Some(upkeep) = self.neighbours.get_mut(&key) {
                upkeep.asked(now);
            }
            if let Err(error) = result {
                keep_if_usable(error, "neighbour upkeep")?;
            }
        }
        Ok(())
    }

    /// The way to every destination.
    pub fn table(&self) -> BTreeMap<IpAddr, Result<NextHop, NextHopError>> {
        self.routes
            .iter()
            .map(|(destination, route)| {
                let next_hop = route.as_ref().map_err(Clone::clone);
                (*destination, next_hop.and_then(|route| self.next_hop(*destination, route)))
            })
            .collect()
    }

    fn next_hop(&self, destination: IpAddr, route: &Route) -> Result<NextHop, NextHopError> {
        let link = self.links.get(&route.ifindex);
        let source_mac: Mac = egress_mac(destination, link)?;
        let link_mtu = link.map_or(u32::MAX, |link| link.mtu);
        let unknown = Upkeep::new(Neighbour::MISSING, Instant::now());
        let upkeep = self.neighbours.get(&route.neighbour(destination)).unwrap_or(&unknown);
        Ok(assemble(destination, route, source_mac, link_mtu, upkeep.neighbour(), upkeep.state()))
    }
}

/// Passes a fatal error on; another one is logged and what was known stays.
fn keep_if_usable(error: NetlinkError, what: &'static str) -> Result<(), NetlinkError> {
    if error.ends_connection() {
        return Err(error);
    }
    tracing::debug!(%error, what, "a look-up failed; it is repeated at the next resync");
    Ok(())
}
