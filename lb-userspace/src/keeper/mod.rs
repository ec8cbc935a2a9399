//! Keeps the maps true: plans, carries plans out, counts flows, moves slots on.
//!
//! Role: the agent's work on a dataplane, whichever it is; the simulation does the same work on one in memory. Time is
//! an argument. Imports model, dataplane, reconcile, phases and sessions. Always holds: it alone changes the maps; whatever
//! fails, the maps forward, and the next call goes on.

mod flow_book;

pub use flow_book::FlowBook;

use crate::dataplane::{Dataplane, DataplaneError, Observed, Op};
use crate::model::Model;
use crate::phases::{self, Census, PhaseCounts, Phases, View, take_census};
use crate::reconcile::{
    BackendName, Desired, FULL_SHARE, Hop, Plan, ReconcileError, Reconciler, SlowStart, identities,
};
use crate::sessions::{SessionBook, SessionCount, Sweep};
use lb_common::abi::{self, Address, AddressFlags, FlowCounters, Link, Lookups, Recording, Settings};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

/// Rounds of planning for one change at most; more than one is needed only where slots are scarce.
const MAX_ROUNDS: usize = 64;

/// Why the maps could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It does not fit.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The kernel refused.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
}

/// What the world outside of the maps is like.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Backends that may take new flows as far as health goes.
    pub healthy: BTreeSet<BackendName>,
    /// Those of them whose weight counts for less than all, in percent.
    pub percents: BTreeMap<BackendName, u8>,
    /// Backends whose connections are given up.
    pub dead: BTreeSet<BackendName>,
    /// Ways to backends, see [`Desired::hops`].
    pub hops: BTreeMap<IpAddr, Option<Hop>>,
    /// Interfaces to allow redirects to.
    pub devices: BTreeSet<u32>,
    /// VLAN interfaces, see [`Desired::links`].
    pub links: BTreeMap<u32, Link>,
}

/// Shares of those on their way to the whole, and of those who want less than the whole.
fn scaled(
    mut shares: BTreeMap<BackendName, u32>,
    percents: &BTreeMap<BackendName, u8>,
) -> BTreeMap<BackendName, u32> {
    for (name, percent) in percents {
        let share = shares.entry(name.clone()).or_insert(FULL_SHARE);
        *share = (*share * u32::from(*percent) / 100).max(1);
    }
    shares
}

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For everything that the agent times by itself.
    pub instant: Instant,
    /// For what the datapath stamps: milliseconds of the monotonic clock.
    pub monotonic_ms: u64,
}

/// What a keeper asks while it works: the clock, and the world, which may look different in the light of what is in
/// the maps.
pub trait Surroundings {
    /// The time.
    fn now(&self) -> Now;

    /// The world, given the maps as they are.
    fn see(&self, model: &Model, observed: &Observed) -> Sight;
}

/// Keeps one dataplane.
#[derive(Default)]
pub struct Keeper {
    reconciler: Reconciler,
    slow_start: SlowStart,
    phases: Phases,
    /// Identities of backends that were down when the configuration let go of them.
    given_up: BTreeSet<u64>,
    /// Backends that slots led to, by index, and when the last slot ceased to, in milliseconds of the monotonic clock.
    left_ms: HashMap<u32, u64>,
    /// What the datapath may record.
    recording: Recording,
    /// Whether nothing changes by itself: nothing was done since a count that found no flow, and slots stable all.
    quiet: bool,
    /// What was last seen of the flow table.
    pub book: FlowBook,
    /// What was last seen of the session table.
    pub sessions: SessionBook,
    /// A count of sessions that is under way.
    sweep: Option<Sweep>,
    /// Backends that are gone and that neither slots nor flows lead to, by index, and since when that is known, in
    /// milliseconds of the monotonic clock. What sessions they have were made before.
    flowless_ms: BTreeMap<u32, u64>,
    /// Addresses that sessions send from, or may, although the configuration does not name them any more; and since when it
    /// does not, in milliseconds of the monotonic clock.
    left_sources_ms: BTreeMap<Address, u64>,
}

impl Keeper {
    /// Whether the maps have room for `model`. Changes nothing, also not in the keeper.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(
        &mut self,
        around: &impl Surroundings,
        model: &Model,
        observed: &Observed,
    ) -> Result<(), ReconcileError> {
        let (slow_start, quiet) = (self.slow_start.clone(), self.quiet);
        let plan = self.plan(around, model, observed, None);
        (self.slow_start, self.quiet) = (slow_start, quiet);
        plan.map(|_| ())
    }

    /// Gives the connections of backends up that the configuration is about to let go of while they are down. It is for
    /// good: when the configuration has such a backend again, its health decides.
    pub fn give_up(&mut self, identities: impl IntoIterator<Item = u64>) {
        self.given_up.extend(identities);
    }

    fn plan(
        &mut self,
        around: &impl Surroundings,
        model: &Model,
        observed: &Observed,
        flows_of: Option<&BTreeSet<u32>>,
    ) -> Result<Plan, ReconcileError> {
        self.note_sources(model, observed, around.now().monotonic_ms);
        let sight = around.see(model, observed);
        let shares = self.slow_start.shares(model, &sight.healthy, around.now().instant);
        self.quiet &= shares.is_empty();
        let shares = scaled(shares, &sight.percents);
        let desired = Desired {
            model,
            healthy: &sight.healthy,
            hops: &sight.hops,
            devices: &sight.devices,
            links: &sight.links,
            shares: &shares,
            dead: &sight.dead,
            given_up: &self.given_up,
            flows_of,
            kept_sources: &self.kept_sources(),
        };
        self.reconciler.plan(&desired, observed)
    }

    /// Makes the maps true to `model`. Returns how many operations that took.
    ///
    /// # Errors
    /// When it does not fit or the kernel refuses; some operations may be done then, and the maps still forward.
    pub fn reconcile<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
    ) -> Result<usize, KeepError> {
        self.reconcile_with(dataplane, around, model, None, None)
    }

    /// `first` is what is in the maps, from one who has just looked.
    fn reconcile_with<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
        mut first: Option<Observed>,
        flows_of: Option<&BTreeSet<u32>>,
    ) -> Result<usize, KeepError> {
        let mut count = 0;
        for _ in 0..MAX_ROUNDS {
            let observed = match first.take() {
                Some(observed) => observed,
                None => dataplane.observe()?,
            };
            let plan = self.plan(around, model, &observed, flows_of)?;
            count += plan.ops.len();
            self.quiet &= plan.ops.is_empty();
            let outcome = carry_out(dataplane, &plan);
            // Also after an error: some of it may be in force, and a clock that starts late only takes longer.
            self.phases.started(&plan.learning, around.now().monotonic_ms);
            let moves = |op: &Op| {
                matches!(
                    op,
                    Op::WriteSlots { .. }
                        | Op::PutService(..)
                        | Op::DeleteService(_)
                        | Op::PutRange(..)
                        | Op::DeleteRange(_)
                )
            };
            if plan.ops.iter().any(moves) {
                self.note_left(&observed, dataplane, around)?;
            }
            outcome?;
            if plan.complete {
                return Ok(count);
            }
        }
        tracing::warn!("not all tables are up to date after {MAX_ROUNDS} rounds; the timer goes on with it");
        Ok(count)
    }

    /// Looks after slots that change hands: moves those on whose time has come, brings everything up to date.
    ///
    /// # Errors
    /// As [`Self::reconcile`].
    pub fn look<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
    ) -> Result<(), KeepError> {
        let observed = dataplane.observe()?;
        let counters = dataplane.flow_counters()?;
        let moved = self.advance(dataplane, around, model, &observed, &counters, None)?;
        self.reconcile_with(dataplane, around, model, (!moved).then_some(observed), None)?;
        Ok(())
    }

    /// The same, and counts flows: forgets those that are over, calls slots stable that have no others, and frees indexes
    /// that nothing leads to. Takes time with the number of flows.
    ///
    /// # Errors
    /// As [`Self::reconcile`].
    pub fn count<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
    ) -> Result<(), KeepError> {
        let observed = dataplane.observe()?;
        let counters = dataplane.flow_counters()?;
        let began_ms = around.now().monotonic_ms;
        let configured = identities(model);
        let present: BTreeSet<u64> = observed.backends.values().map(|(owner, _)| owner.identity).collect();
        let gone: BTreeSet<u64> = present.difference(&configured).copied().collect();
        if !gone.is_empty() {
            // A packet that saw a slot of before may still record its flow; afterwards nobody can.
            dataplane.apply(&Op::WaitForReaders)?;
        }
        let has_sessions = self.may_have_sessions(&observed.settings);
        if !has_sessions {
            self.sessions.note(SessionCount::default(), began_ms);
        }
        let census = take_census(dataplane, model, &observed, began_ms)?;
        // Refusals count up to the moment when slots move on; what was recorded, up to the count.
        let FlowCounters { recorded, .. } = counters;
        let counters = FlowCounters { recorded, ..dataplane.flow_counters()? };
        let moved =
            self.advance(dataplane, around, model, &observed, &counters, Some((&census, began_ms)))?;
        self.book.note(counters, &census, began_ms);
        let recording = phases::recording(self.book.entries, observed.capacity.flows);
        if observed.settings.recording != recording as u32 {
            dataplane.apply(&Op::SetRecording(recording))?;
        }
        self.recording = recording;
        self.given_up.retain(|identity| gone.contains(identity));
        self.quiet = census.entries == 0 && phases::count(&observed) == PhaseCounts::default();
        let mut named = census.named;
        // Slots that led to a backend when the count began may have had flows of it recorded since.
        named.extend(observed.led_to().iter());
        let gone = observed.backends.iter().filter(|(_, (owner, _))| gone.contains(&owner.identity));
        self.note_flowless(gone.map(|(index, _)| *index), &named, around.now().monotonic_ms);
        if has_sessions {
            named.extend(self.may_have_sessions_of());
        }
        self.reconcile_with(dataplane, around, model, (!moved).then_some(observed), Some(&named))?;
        Ok(())
    }

    /// Counts sessions and takes those away that are over, a turn at a time; says whether all were seen. A turn takes a time
    /// that does not depend on their number; next to none without any.
    ///
    /// # Errors
    /// When the maps cannot be read or written.
    pub fn sweep_sessions<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
    ) -> Result<bool, DataplaneError> {
        let now_ms = around.now().monotonic_ms;
        if !self.may_have_sessions(&dataplane.settings()?) {
            self.sweep = None;
            self.sessions.note(SessionCount::default(), now_ms);
            return Ok(true);
        }
        // One that fails is not gone on with.
        let crowded = self.sessions.count.sessions.saturating_mul(2) > u64::from(model.node.limits.sessions);
        let mut sweep = self.sweep.take().unwrap_or_else(|| Sweep::begin(now_ms, crowded));
        if let Some(count) = sweep.turn(dataplane, model, now_ms)? {
            self.sessions.note(count, sweep.began_ms());
        } else {
            self.sweep = Some(sweep);
        }
        Ok(self.sweep.is_none())
    }

    /// Whether there are sessions, or some may be made.
    const fn may_have_sessions(&self, settings: &Settings) -> bool {
        settings.lookups & Lookups::SESSIONS != 0 || !self.sessions.is_empty()
    }

    /// Addresses that sessions send from, or may, although the configuration does not name them any more: as long as they
    /// are the node's, these sessions live.
    pub fn kept_sources(&self) -> BTreeSet<Address> {
        self.left_sources_ms.keys().copied().collect()
    }

    /// Notes which addresses the maps know that the configuration does not name, and forgets those that no session had at a
    /// count that began when none could get them any more.
    fn note_sources(&mut self, model: &Model, observed: &Observed, now_ms: u64) {
        let wanted: BTreeSet<Address> = model.snat_addresses().into_iter().map(abi::address).collect();
        let before = std::mem::take(&mut self.left_sources_ms);
        let known = observed.addresses.iter().filter(|(_, flags)| **flags & AddressFlags::SNAT != 0);
        let left = known.map(|(address, _)| *address).filter(|address| !wanted.contains(address));
        let since = left.map(|address| (address, before.get(&address).copied().unwrap_or(now_ms)));
        let may_have = |address: &Address, since_ms: u64| {
            self.sessions.count.sources.contains(address)
                || self
                    .sessions
                    .counted_ms
                    .is_none_or(|counted_ms| counted_ms <= since_ms + phases::READERS_MS)
        };
        self.left_sources_ms = since.filter(|(address, since_ms)| may_have(address, *since_ms)).collect();
    }

    /// Notes which of the backends that are `gone` nothing leads to that makes sessions: they are not `named`.
    fn note_flowless(&mut self, gone: impl Iterator<Item = u32>, named: &BTreeSet<u32>, now_ms: u64) {
        let before = std::mem::take(&mut self.flowless_ms);
        let flowless = gone.filter(|index| !named.contains(index));
        self.flowless_ms =
            flowless.map(|index| (index, before.get(&index).copied().unwrap_or(now_ms))).collect();
    }

    /// Backends that may have sessions: those that had some at the last count, and those that may have got some since.
    fn may_have_sessions_of(&self) -> BTreeSet<u32> {
        let may_have_got = |since_ms: u64| {
            self.sessions.counted_ms.is_none_or(|counted_ms| counted_ms <= since_ms + phases::READERS_MS)
        };
        let recent = self.flowless_ms.iter().filter(|(_, since_ms)| may_have_got(**since_ms));
        self.sessions.count.named.iter().chain(recent.map(|(index, _)| index)).copied().collect()
    }

    /// Flows of a backend that are remembered, sessions among them.
    pub fn flows_of(&self, backend: u32) -> u64 {
        let of = |flows: &fnv::FnvHashMap<u32, u64>| flows.get(&backend).copied().unwrap_or(0);
        of(&self.book.flows) + of(&self.sessions.count.flows)
    }

    /// Whether the last counts of flows and of sessions began after the last slot ceased to lead to a backend, so that they
    /// say whether the backend still has flows.
    pub fn has_counted(&self, backend: u32) -> bool {
        let left_ms = self.left_ms.get(&backend).copied();
        [self.book.counted_ms, self.sessions.counted_ms].iter().all(|counted_ms| {
            counted_ms.is_some_and(|counted_ms| {
                left_ms.is_none_or(|left_ms| counted_ms > left_ms + phases::READERS_MS)
            })
        })
    }

    /// Notes who had slots `before` and has none any more.
    fn note_left<D: Dataplane>(
        &mut self,
        before: &Observed,
        dataplane: &D,
        around: &impl Surroundings,
    ) -> Result<(), DataplaneError> {
        let now_ms = around.now().monotonic_ms;
        let after = dataplane.observe()?.led_to();
        self.left_ms.retain(|backend, _| !after.contains(*backend));
        let before = before.led_to();
        let left = before.iter().filter(|backend| !after.contains(*backend));
        self.left_ms.extend(left.map(|backend| (backend, now_ms)));
        Ok(())
    }

    /// What may be recorded at present.
    pub const fn recording(&self) -> Recording {
        self.recording
    }

    /// Whether nothing changes by itself at present: all slots are stable, and no flow is remembered.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Moves slots on whose time has come; says whether there were any.
    fn advance<D: Dataplane>(
        &mut self,
        dataplane: &mut D,
        around: &impl Surroundings,
        model: &Model,
        observed: &Observed,
        counters: &FlowCounters,
        census: Option<(&Census, u64)>,
    ) -> Result<bool, DataplaneError> {
        let view = View { model, observed, counters, census, now_ms: around.now().monotonic_ms };
        let ops = self.phases.advance(&view);
        for op in &ops {
            dataplane.apply(op)?;
        }
        if !ops.is_empty() {
            self.note_left(observed, dataplane, around)?;
        }
        Ok(!ops.is_empty())
    }

    /// Time until every flow of a backend that slots took away is known; none if that is so already.
    pub fn settles_in(
        &self,
        model: &Model,
        observed: &Observed,
        backend: u32,
        now: Now,
    ) -> Option<std::time::Duration> {
        self.phases.settles_in(model, observed, backend, now.monotonic_ms)
    }
}

fn carry_out<D: Dataplane>(dataplane: &mut D, plan: &Plan) -> Result<(), DataplaneError> {
    for op in &plan.ops {
        match (dataplane.apply(op), op) {
            (Ok(()), _) => {}
            // An interface may be gone by now; that must not keep everything else from being brought up to date.
            (Err(error), Op::PutDevice(ifindex)) => {
                tracing::warn!("packets cannot be redirected to interface {ifindex}: {error}");
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}
