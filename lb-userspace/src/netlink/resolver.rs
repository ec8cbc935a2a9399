//! A task that keeps the next hops of a set of destinations true.
//!
//! Role: level-triggered. Events only say when to look again; a periodic resync finds what events missed.
//! Always holds: the published table was read from the kernel; it changes only when something in it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::events::{Changes, EventSocket};
use super::path_mtu::{PathMtuSockets, Patience};
use super::tracker::Tracker;
use super::{Link, Netlink, NetlinkError, NextHop, NextHopError};

/// Time from the first event to the look-up, so that events that come together cost one.
const COALESCE_DELAY: Duration = Duration::from_millis(20);

/// Everything is looked at again this often, events or not.
const RESYNC_INTERVAL: Duration = Duration::from_secs(10);

/// How often the neighbours that are due are asked for.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(200);

/// Pause before new sockets are opened after the old ones failed.
const REOPEN_DELAY: Duration = Duration::from_secs(1);

/// Destinations that are followed at most: as many as a node has backends.
pub const MAX_DESTINATIONS: usize = 1 << 20;

/// The way to every destination that was asked for.
pub type NextHopTable = Arc<BTreeMap<IpAddr, Result<NextHop, NextHopError>>>;

/// Every interface by its index.
pub type LinkTable = Arc<BTreeMap<u32, Link>>;

/// What else the resolver does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Keep the gateways of all default routes resolved too: `bpf_fib_lookup` on the return path needs them.
    pub follow_default_gateways: bool,
    /// Make the kernel take to heart, and look at once, when a router says that a tunnel's packet is too big
    /// ([`super::path_mtu`]). Needs `CAP_NET_RAW`; without it path MTUs of tunnels are not learned.
    pub follow_tunnel_path_mtu: bool,
}

/// Handle of the task; dropping it ends the task.
#[derive(Debug)]
pub struct Resolver {
    destinations: watch::Sender<BTreeSet<IpAddr>>,
    table: watch::Receiver<NextHopTable>,
    links: watch::Receiver<LinkTable>,
    task: JoinHandle<()>,
}

impl Resolver {
    /// Starts the task in the network namespace of the calling thread. On a multi-threaded runtime, all of the
    /// runtime's threads must be in that namespace, because the task opens new sockets if the first ones fail.
    ///
    /// # Errors
    /// When there is no tokio runtime, or the kernel gives no netlink socket.
    pub fn spawn(options: ResolverOptions) -> Result<Self, NetlinkError> {
        let session = Session::open(options)?;
        let (destinations, wanted) = watch::channel(BTreeSet::new());
        let (hops, table) = watch::channel(NextHopTable::default());
        let (link_publisher, links) = watch::channel(LinkTable::default());
        let publishers = Publishers { hops, links: link_publisher };
        let task = tokio::spawn(run(session, options, wanted, publishers));
        Ok(Self { destinations, table, links, task })
    }

    /// Sets the destinations to follow. The table has an entry for each of them, and no other, soon after.
    ///
    /// # Errors
    /// [`NetlinkError::TooManyDestinations`] above [`MAX_DESTINATIONS`]; nothing changes then.
    pub fn update(&self, destinations: BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        if destinations.len() > MAX_DESTINATIONS {
            let (count, limit) = (destinations.len(), MAX_DESTINATIONS);
            return Err(NetlinkError::TooManyDestinations { count, limit });
        }
        self.destinations.send_if_modified(|current| {
            let changed = *current != destinations;
            if changed {
                *current = destinations;
            }
            changed
        });
        Ok(())
    }

    /// The table, now and whenever it changes.
    pub fn table(&self) -> watch::Receiver<NextHopTable> {
        self.table.clone()
    }

    /// Every interface, now and whenever one changes. Empty until they were first read, which is before the table of next
    /// hops has its first entry.
    pub fn links(&self) -> watch::Receiver<LinkTable> {
        self.links.clone()
    }
}

/// Where what was learned is handed on.
struct Publishers {
    hops: watch::Sender<NextHopTable>,
    links: watch::Sender<LinkTable>,
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs sessions, one after the other when sockets fail, until nobody wants the table.
async fn run(
    first: Session,
    options: ResolverOptions,
    mut destinations: watch::Receiver<BTreeSet<IpAddr>>,
    publishers: Publishers,
) {
    let mut session = Ok(first);
    loop {
        let error = match session {
            Ok(session) => match session.run(&mut destinations, &publishers).await {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(%error, "next hops are not followed for a moment; opening new netlink sockets");
        sleep(REOPEN_DELAY).await;
        session = Session::open(options);
    }
}

/// One pair of sockets and what was learned through them.
struct Session {
    events: EventSocket,
    path_mtu: PathMtuSockets,
    patience: Patience,
    tracker: Tracker,
    pending: Changes,
    /// When to look at what is pending.
    look_at: Option<Instant>,
    /// Looking takes at most half of the time, whatever storm of events there is.
    rest_until: Instant,
}

impl Session {
    fn open(options: ResolverOptions) -> Result<Self, NetlinkError> {
        // Events first: what changes between the two is then looked at again.
        let events = EventSocket::open()?;
        let netlink = Netlink::open()?;
        let path_mtu =
            if options.follow_tunnel_path_mtu { PathMtuSockets::open() } else { PathMtuSockets::default() };
        let now = Instant::now();
        Ok(Self {
            events,
            path_mtu,
            patience: Patience::new(now),
            tracker: Tracker::new(netlink, options.follow_default_gateways),
            pending: Changes::all(),
            look_at: Some(now),
            rest_until: now,
        })
    }

    /// Works until the destinations' sender is gone.
    async fn run(
        mut self,
        destinations: &mut watch::Receiver<BTreeSet<IpAddr>>,
        publishers: &Publishers,
    ) -> Result<(), NetlinkError> {
        let mut resync = interval(RESYNC_INTERVAL);
        let mut upkeep = interval(UPKEEP_INTERVAL);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look_at = self.look_at.map(|at| at.max(self.rest_until));
            let far = Instant::now() + RESYNC_INTERVAL;
            tokio::select! {
                changed = destinations.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.note(Changes { everything: true, ..Changes::default() }, Duration::ZERO);
                }
                changes = self.events.next() => {
                    let changes = self.tracker.relevant(changes?);
                    self.note(changes, COALESCE_DELAY);
                }
                // Where patience is at its end, the upkeep's tick comes often enough to ask again.
                () = self.path_mtu.changed(), if self.patience.lasts(Instant::now()) => {
                    self.patience.heard(Instant::now());
                    self.note(Changes { everything: true, ..Changes::default() }, COALESCE_DELAY);
                }
                _ = resync.tick() => {
                    self.note(Changes { everything: true, ..Changes::default() }, Duration::ZERO);
                }
                _ = upkeep.tick() => self.tracker.ask().await?,
                () = sleep_until(look_at.unwrap_or(far)), if look_at.is_some() => {
                    let wanted = destinations.borrow_and_update().clone();
                    self.look(&wanted, publishers).await?;
                }
            }
        }
    }

    /// Remembers what to look at, `delay` from now at the latest.
    fn note(&mut self, changes: Changes, delay: Duration) {
        if changes.is_empty() {
            return;
        }
        self.pending.merge(changes);
        let at = Instant::now() + delay;
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    async fn look(
        &mut self,
        destinations: &BTreeSet<IpAddr>,
        publishers: &Publishers,
    ) -> Result<(), NetlinkError> {
        let started = Instant::now();
        let changes = std::mem::take(&mut self.pending);
        self.look_at = None;
        self.tracker.look_again(destinations, &changes).await?;
        publish_links(&publishers.links, self.tracker.links());
        publish(&publishers.hops, self.tracker.table());
        self.tracker.ask().await?;
        self.rest_until = Instant::now() + started.elapsed();
        Ok(())
    }
}

fn publish(publisher: &watch::Sender<NextHopTable>, table: BTreeMap<IpAddr, Result<NextHop, NextHopError>>) {
    publisher.send_if_modified(|published| {
        let changed = **published != table;
        if changed {
            *published = Arc::new(table);
        }
        changed
    });
}

fn publish_links(publisher: &watch::Sender<LinkTable>, links: &LinkTable) {
    publisher.send_if_modified(|published| {
        let changed = *published != *links;
        if changed {
            *published = Arc::clone(links);
        }
        changed
    });
}
