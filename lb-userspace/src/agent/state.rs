//! Everything that the agent knows and holds.

use super::AgentError;
use super::around::Around;
use super::notices::Troubles;
use super::pools::{self, Verdicts};
use super::rates::RateMeter;
use crate::api::types::InterfaceInfo;
use crate::dataplane::Dataplane as _;
use crate::dataplane::kernel::KernelDataplane;
use crate::health::{self, Runner, TargetStatus};
use crate::keeper::Keeper;
use crate::model::Model;
use crate::netlink::{Link, LinkTable, Netlink, NextHopTable, Resolver};
use crate::telemetry::events::{EventKind, EventLog};
use lb_common::abi::ip_address;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// The configuration in force.
pub struct Loaded {
    /// Its text.
    pub text: String,
    /// What it means.
    pub model: Model,
    /// What is legal and probably not meant.
    pub warnings: Vec<String>,
    /// Number of the generation.
    pub generation: u64,
    /// When it took effect.
    pub at: SystemTime,
}

/// Everything that the agent knows and holds.
pub struct State {
    /// The file.
    pub path: PathBuf,
    /// The configuration in force.
    pub loaded: Loaded,
    /// Maps and program.
    pub dataplane: KernelDataplane,
    /// Keeps the maps true.
    pub keeper: Keeper,
    /// How fast the services' counters grow.
    pub rates: RateMeter,
    /// Health checks.
    pub runner: Runner,
    /// Follows next hops.
    pub resolver: Resolver,
    /// Asks and changes links and addresses.
    pub netlink: Netlink,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceInfo>,
    /// The node's interfaces and their VLANs as last looked at.
    pub concerned: Vec<Link>,
    /// What could not be done when it was last tried.
    pub troubles: Troubles,
    /// What operators should know as long as it is so ([`super::notices`]).
    pub notices: Vec<String>,
    /// How pools were judged when the maps were last made true.
    pub verdicts: Verdicts,
    /// When the agent started.
    pub started: Instant,
    /// Recent events.
    pub events: Arc<EventLog>,
}

impl State {
    /// The next hops as they are known now.
    pub fn hops(&self) -> NextHopTable {
        self.resolver.table().borrow().clone()
    }

    /// Every interface as it is known now.
    pub fn links(&self) -> LinkTable {
        self.resolver.links().borrow().clone()
    }

    /// The state of every checked backend.
    pub fn health(&self) -> BTreeMap<health::BackendId, TargetStatus> {
        self.runner.snapshot()
    }

    /// Addresses of the node that sessions send from although the configuration does not name them any more.
    pub fn kept_sources(&self) -> BTreeSet<IpAddr> {
        self.keeper.kept_sources().into_iter().map(ip_address).collect()
    }

    /// Whether the maps have room for `model`. Changes nothing.
    ///
    /// # Errors
    /// When they do not, or cannot be read.
    pub fn check_room(&mut self, model: &Model) -> Result<(), AgentError> {
        let observed = self.dataplane.observe()?;
        self.keeper.check(&Around::of(self), model, &observed)?;
        Ok(())
    }

    /// Makes the maps true to `model`. Returns how many operations that took.
    ///
    /// # Errors
    /// When it does not fit or the kernel refuses; some operations may be done then, and the maps still forward.
    pub fn reconcile_to(&mut self, model: &Model) -> Result<usize, AgentError> {
        let around = Around::of(self);
        let count = self.keeper.reconcile(&mut self.dataplane, &around, model)?;
        pools::tell(self, around.into_verdicts());
        Ok(count)
    }

    /// Looks after slots that change hands, counts flows if asked to, and makes the maps true in case that somebody else
    /// changed them. False if that failed, which is told as by [`Self::reconcile`].
    pub fn look(&mut self, count: bool) -> bool {
        let (around, model) = (Around::of(self), &self.loaded.model);
        let (keeper, dataplane) = (&mut self.keeper, &mut self.dataplane);
        let outcome = tokio::task::block_in_place(|| {
            if count {
                keeper.count(dataplane, &around, model)
            } else {
                keeper.look(dataplane, &around, model)
            }
        });
        if outcome.is_ok() {
            pools::tell(self, around.into_verdicts());
        }
        self.or_alarm("timer", outcome.map_err(AgentError::from)).is_some()
    }

    /// One turn of counting sessions, which takes those away that are over; says whether all were seen. None if that failed,
    /// which is told.
    pub fn sweep_sessions(&mut self) -> Option<bool> {
        let (around, model) = (Around::of(self), &self.loaded.model);
        let (keeper, dataplane) = (&mut self.keeper, &mut self.dataplane);
        let outcome = tokio::task::block_in_place(|| keeper.sweep_sessions(dataplane, &around, model));
        self.or_alarm("sessions", outcome.map_err(AgentError::from))
    }

    /// What came of an attempt to bring the maps up to date; a failure is logged and made an event.
    fn or_alarm<T>(&self, why: &str, outcome: Result<T, AgentError>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                tracing::error!("the maps could not be brought up to date ({why}): {error}");
                self.event(EventKind::Alarm, "maps", &format!("not up to date: {error}"));
            })
            .ok()
    }

    /// Makes the maps true to the configuration in force. A failure is logged and made an event: the next change or
    /// the timer tries again.
    pub fn reconcile(&mut self, why: &str) {
        let model = self.loaded.model.clone();
        let outcome = tokio::task::block_in_place(|| self.reconcile_to(&model));
        if let Some(count @ 1..) = self.or_alarm(why, outcome) {
            tracing::debug!("{count} operations on the maps ({why})");
        }
    }

    /// Remembers an event.
    pub fn event(&self, kind: EventKind, subject: &str, message: &str) {
        self.events.push(SystemTime::now(), kind, subject, message);
    }
}
