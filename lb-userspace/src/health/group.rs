//! A group: the targets that ask the same question of the same address, and the task that asks it for them.
//!
//! Role: one probe at a time, its result handed to the machine of every member. Imports `model` and this room.
//! Always holds: the members' lock is never held across an await; a group never has two probes at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::model::Check;

use super::finding::Answer;
use super::machine::{Event, LastResult, Machine};
use super::probe::ProbeError;
use super::punctuality::Clock;
use super::runner::{BackendId, HealthEvent};
use super::schedule::Schedule;

/// Least time between two warnings that the node cannot probe; there may be thousands of causes a second.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Asks one address one question, again and again: [`super::probe::Prober`], or a test's own.
pub(super) trait Ask: Send {
    /// Asks once.
    fn ask(&mut self) -> BoxFuture<'_, Result<Answer, ProbeError>>;
}

/// Makes what asks an address.
pub(super) type MakeAsk = dyn Fn(SocketAddr, Arc<Check>) -> Box<dyn Ask> + Send + Sync;

/// What all groups of a runner share.
pub(super) struct Shared {
    /// How to ask.
    pub(super) make_ask: Box<MakeAsk>,
    /// One permit a running probe.
    pub(super) permits: Semaphore,
    /// Where transitions go.
    pub(super) events: mpsc::Sender<HealthEvent>,
    /// How punctual the probes are.
    pub(super) clock: Clock,
    /// When the node last said that it cannot probe.
    pub(super) last_warning: Mutex<Option<Instant>>,
}

/// The targets that one probe answers for.
pub(super) struct Group {
    pub(super) address: SocketAddr,
    pub(super) check: Arc<Check>,
    members: Mutex<BTreeMap<BackendId, Machine>>,
}

impl Group {
    /// A group without members.
    pub(super) fn new(address: SocketAddr, check: Arc<Check>) -> Self {
        Self { address, check, members: Mutex::default() }
    }

    /// Whether a target with this question belongs here.
    pub(super) fn asks(&self, address: SocketAddr, check: &Arc<Check>) -> bool {
        self.address == address && (Arc::ptr_eq(&self.check, check) || self.check == *check)
    }

    /// The members and their machines. Held for a moment only.
    pub(super) fn members(&self) -> MutexGuard<'_, BTreeMap<BackendId, Machine>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one result in for every member; returns what changed.
    fn record(&self, event: &Event, now: std::time::Instant) -> Vec<HealthEvent> {
        let mut changes = Vec::new();
        for (id, machine) in self.members().iter_mut() {
            let change = machine.on_event(event.clone(), now);
            if !change.is_none() {
                changes.push(HealthEvent {
                    id: id.clone(),
                    address: self.address,
                    change,
                    last_result: LastResult { at: now, event: event.clone() },
                });
            }
        }
        changes
    }
}

/// Asks for `group` until aborted, or until nobody receives the events any more.
///
/// A full event queue delays this group's next probe: no transition is lost to a slow receiver.
pub(super) async fn run(group: Arc<Group>, shared: Arc<Shared>, mut schedule: Schedule) {
    let mut asker = (shared.make_ask)(group.address, Arc::clone(&group.check));
    loop {
        tokio::time::sleep_until(schedule.due()).await;
        let Ok(permit) = shared.permits.acquire().await else { return };
        shared.clock.note(schedule.due().elapsed(), group.check.interval);
        let event = Event::from(asker.ask().await);
        drop(permit);

        let now = Instant::now();
        if let Event::Inconclusive(error) = &event {
            shared.warn(error, now);
        }
        for change in group.record(&event, now.into_std()) {
            if shared.events.send(change).await.is_err() {
                return;
            }
        }
        schedule.advance(Instant::now());
    }
}

impl Shared {
    fn warn(&self, error: &ProbeError, now: Instant) {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.saturating_duration_since(last) >= WARN_EVERY) {
            *last = Some(now);
            tracing::warn!("health: {error}; targets keep their state until they can be asked again");
        }
    }
}
