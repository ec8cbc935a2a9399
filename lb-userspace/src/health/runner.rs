//! Keeps every target checked on its schedule and reports what changes.
//!
//! Role: owns the groups and their tasks. Imports `model` and this room.
//! Always holds: one task a group and one probe a group at a time; at most [`MAX_PROBES`] probes at once; when
//! the runner is dropped, so is every task and socket of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::model::Check;

use super::group::{self, Ask, Group, MakeAsk, Shared};
use super::machine::{Change, Health, LastResult, Machine, Status};
use super::probe::Prober;
use super::punctuality::{Clock, Punctuality};
use super::schedule::Schedule;

/// Most probes at once. With fewer than twice as many file descriptors allowed, half of those.
///
/// 10,000 targets that all time out at half their interval need 5,000; beyond the limit probes wait their turn.
pub const MAX_PROBES: usize = 8_192;

/// Transitions that wait for the receiver; a full queue delays the probes that have more to report.
pub const MAX_QUEUED_EVENTS: usize = 1_024;

/// Who is checked: one backend as a member of one pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// Name of the pool.
    pub pool: String,
    /// Name of the backend in it.
    pub backend: String,
}

/// Something to keep checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who it is.
    pub id: BackendId,
    /// Where it serves. The check's port, if it has one, replaces this port.
    pub address: SocketAddr,
    /// How to check it. Targets with an equal check on an equal address share one probe.
    pub check: Arc<Check>,
    /// Its state until the results say otherwise, if it is not checked already.
    pub initial: Health,
}

impl Target {
    fn probe_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.check.port.unwrap_or(self.address.port()))
    }
}

/// Something about a target changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// Which target.
    pub id: BackendId,
    /// Where it was asked.
    pub address: SocketAddr,
    /// The change.
    pub change: Change,
    /// The result that decided it.
    pub last_result: LastResult,
}

/// State of one target, for people and for a full sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Where it is asked.
    pub address: SocketAddr,
    /// What its machine knows.
    pub status: Status,
}

/// How close the runner is to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Different questions, each with a task of its own; no more than there are targets.
    pub groups: usize,
    /// Probes running now.
    pub probes: usize,
    /// Most probes that may run.
    pub max_probes: usize,
    /// Events waiting for the receiver.
    pub queued_events: usize,
    /// Most events that may wait: [`MAX_QUEUED_EVENTS`].
    pub max_queued_events: usize,
}

/// Checks a changing set of targets.
pub struct Runner {
    runtime: Handle,
    shared: Arc<Shared>,
    max_probes: usize,
    /// The groups by the address they ask; several if checks differ.
    groups: HashMap<SocketAddr, Vec<Running>>,
}

/// A group and the task that works for it.
struct Running {
    group: Arc<Group>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Runner {
    /// A runner without targets, and the queue of its events.
    ///
    /// Set the process's limit of open files before: it bounds how many probes run at once.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with time and IO enabled.
    pub fn new() -> (Self, mpsc::Receiver<HealthEvent>) {
        let make = |address, check| Box::new(Prober::new(address, check)) as Box<dyn Ask>;
        Self::with_askers(Box::new(make), max_probes())
    }

    fn with_askers(make_ask: Box<MakeAsk>, max_probes: usize) -> (Self, mpsc::Receiver<HealthEvent>) {
        let (events, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
        let permits = Semaphore::new(max_probes);
        let shared = Arc::new(Shared {
            make_ask,
            permits,
            events,
            clock: Clock::default(),
            last_warning: Mutex::new(None),
        });
        let runner = Self { runtime: Handle::current(), shared, max_probes, groups: HashMap::new() };
        (runner, receiver)
    }

    /// Makes `targets` the whole set of what is checked. Of targets with the same id the last one counts.
    ///
    /// - Unchanged ones (same id, address and check) keep state and schedule; their `initial` is ignored.
    /// - Ones with a new address or check start again, with their current state in place of `initial`.
    /// - Removed ones stop at once. Events of theirs that were queued before still arrive.
    ///
    /// A transition that is on its way to a full event queue may be lost when its target is changed here, so
    /// read [`Self::snapshot`] after an update.
    pub fn update(&mut self, targets: impl IntoIterator<Item = Target>) {
        let mut missing: Missing =
            targets.into_iter().map(|target| (target.id.clone(), (target, None))).collect();
        for running in self.groups.values().flatten() {
            keep_members(&running.group, &mut missing);
        }
        for (target, former) in missing.into_values() {
            self.add(target, former);
        }
        self.groups.retain(|_, groups| {
            groups.retain(|running| !running.group.members().is_empty());
            !groups.is_empty()
        });
    }

    /// The state of every target.
    pub fn snapshot(&self) -> BTreeMap<BackendId, TargetStatus> {
        let mut all = BTreeMap::new();
        for group in self.groups.values().flatten().map(|running| &running.group) {
            for (id, machine) in group.members().iter() {
                let status = TargetStatus { address: group.address, status: machine.status().clone() };
                all.insert(id.clone(), status);
            }
        }
        all
    }

    /// The latest results of one target, the oldest first; none if it is not checked.
    pub fn history(&self, id: &BackendId) -> Vec<LastResult> {
        for running in self.groups.values().flatten() {
            if let Some(machine) = running.group.members().get(id) {
                return machine.history().cloned().collect();
            }
        }
        Vec::new()
    }

    /// How punctual the probes have been.
    pub fn punctuality(&self) -> Punctuality {
        self.shared.clock.read()
    }

    /// How close the runner is to its limits.
    pub fn load(&self) -> Load {
        Load {
            groups: self.groups.values().map(Vec::len).sum(),
            probes: self.max_probes - self.shared.permits.available_permits(),
            max_probes: self.max_probes,
            queued_events: MAX_QUEUED_EVENTS - self.shared.events.capacity(),
            max_queued_events: MAX_QUEUED_EVENTS,
        }
    }

    fn add(&mut self, target: Target, former: Option<Former>) {
        let address = target.probe_address();
        let now = Instant::now();
        let check = &target.check;
        let mut machine = Machine::new(check.rise, check.fall, target.initial, now.into_std());
        if check.damping {
            machine = machine.damped(now.into_std());
        }
        if let Some(former) = former {
            machine = former.continued(machine, check, now.into_std());
        }
        let groups = self.groups.entry(address).or_default();
        if let Some(running) = groups.iter().find(|running| running.group.asks(address, &target.check)) {
            running.group.members().insert(target.id, machine);
            return;
        }
        let schedule = Schedule::new(&target.id, check.interval, check.jitter, now);
        let group = Arc::new(Group::new(address, target.check));
        group.members().insert(target.id, machine);
        let task = self.runtime.spawn(group::run(Arc::clone(&group), Arc::clone(&self.shared), schedule));
        groups.push(Running { group, _task: AbortOnDrop(task) });
    }
}

/// Targets that have no group yet, with what was known of them by another check or at another address.
type Missing = BTreeMap<BackendId, (Target, Option<Former>)>;

/// What was known of a target until its check or its address changed.
struct Former {
    machine: Machine,
    check: Arc<Check>,
}

impl Former {
    /// `machine`, which is new, with what still holds under `check`. What a database of another role was says nothing.
    fn continued(self, machine: Machine, check: &Check, now: std::time::Instant) -> Machine {
        let is_alike = std::mem::discriminant(&self.check.kind) == std::mem::discriminant(&check.kind);
        if self.check.role() == check.role() {
            machine.after(&self.machine, is_alike, now)
        } else {
            machine.with_health(Health::Unknown)
        }
    }
}

/// Takes out of `group` the members that are not wanted there, and out of `missing` those that are.
///
/// A member that is wanted elsewhere leaves its state behind as the initial one.
fn keep_members(group: &Group, missing: &mut Missing) {
    group.members().retain(|id, machine| {
        let Some((target, former)) = missing.get_mut(id) else { return false };
        let stays = group.asks(target.probe_address(), &target.check);
        if stays {
            missing.remove(id);
        } else {
            *former = Some(Former { machine: machine.clone(), check: Arc::clone(&group.check) });
        }
        stays
    });
}

/// [`MAX_PROBES`], or half of the open files that the process may have, if that is less: the other half is for
/// everything else the agent does.
fn max_probes() -> usize {
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open_files / 2).unwrap_or(usize::MAX).clamp(1, MAX_PROBES)
}

#[cfg(test)]
mod tests;
