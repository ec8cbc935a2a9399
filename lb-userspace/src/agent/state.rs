//! Everything that the agent knows and holds.

use super::flow_book::FlowBook;
use super::rates::RateMeter;
use super::{AgentError, clock, desired};
use crate::api::types::InterfaceInfo;
use crate::dataplane::kernel::KernelDataplane;
use crate::dataplane::{Dataplane as _, Observed, Op};
use crate::health::{self, Runner, TargetStatus};
use crate::model::Model;
use crate::netlink::{Netlink, NextHopTable, Resolver};
use crate::phases::Phases;
use crate::reconcile::{Desired, Plan, Reconciler, SlowStart};
use crate::telemetry::events::{EventKind, EventLog};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Rounds of planning for one change at most; more than one is needed only where slots are scarce.
const MAX_ROUNDS: usize = 64;

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
    /// Makes plans.
    pub reconciler: Reconciler,
    /// Backends that start slowly.
    pub slow_start: SlowStart,
    /// Clocks of slots that change hands.
    pub phases: Phases,
    /// What was last seen of the flow table.
    pub flows: FlowBook,
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
    /// What operators should know as long as it is so.
    pub notices: Vec<String>,
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

    /// The state of every checked backend.
    pub fn health(&self) -> BTreeMap<health::BackendId, TargetStatus> {
        self.runner.snapshot()
    }

    /// What the maps should hold for `model`, against what they hold.
    fn plan(
        &mut self,
        model: &Model,
        observed: &Observed,
        flows_of: Option<&BTreeSet<u32>>,
    ) -> Result<Plan, AgentError> {
        let (health, now) = (self.health(), Instant::now());
        let healthy = desired::healthy(model, &health, &desired::in_use(observed));
        let shares = self.slow_start.shares(model, &healthy, now);
        let dead = desired::dead(model, &health, now);
        let hops = desired::hops(&self.hops());
        let mut devices: BTreeSet<u32> = self.interfaces.iter().map(|interface| interface.ifindex).collect();
        devices.extend(hops.values().flatten().map(|hop| hop.ifindex));
        let desired = Desired {
            model,
            healthy: &healthy,
            hops: &hops,
            devices: &devices,
            shares: &shares,
            dead: &dead,
            flows_of,
        };
        Ok(self.reconciler.plan(&desired, observed)?)
    }

    /// Whether the maps have room for `model`. Changes nothing.
    ///
    /// # Errors
    /// When they do not, or cannot be read.
    pub fn check_room(&mut self, model: &Model) -> Result<(), AgentError> {
        let observed = self.dataplane.observe()?;
        self.plan(model, &observed, None).map(|_| ())
    }

    /// Makes the maps true to `model`. Returns how many operations that took.
    ///
    /// # Errors
    /// When it does not fit or the kernel refuses; some operations may be done then, and the maps still forward.
    pub fn reconcile_to(&mut self, model: &Model) -> Result<usize, AgentError> {
        self.reconcile_with(model, None)
    }

    /// The same, with the backends that flows lead to, as just counted: indexes that nothing leads to become free.
    ///
    /// # Errors
    /// As [`Self::reconcile_to`].
    pub fn reconcile_with(
        &mut self,
        model: &Model,
        flows_of: Option<&BTreeSet<u32>>,
    ) -> Result<usize, AgentError> {
        let mut count = 0;
        for _ in 0..MAX_ROUNDS {
            let observed = self.dataplane.observe()?;
            let plan = self.plan(model, &observed, flows_of)?;
            count += plan.ops.len();
            let outcome = self.carry_out(&plan);
            // Also after an error: some of it may be in force, and a clock that starts late only takes longer.
            self.phases.started(&plan.learning, clock::monotonic_ms());
            outcome?;
            if plan.complete {
                return Ok(count);
            }
        }
        tracing::warn!("not all tables are up to date after {MAX_ROUNDS} rounds; the timer goes on with it");
        Ok(count)
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), AgentError> {
        for op in &plan.ops {
            match (self.dataplane.apply(op), op) {
                (Ok(()), _) => {}
                // An interface may be gone by now; that must not keep everything else from being brought up to date.
                (Err(error), Op::PutDevice(ifindex)) => {
                    tracing::warn!("packets cannot be redirected to interface {ifindex}: {error}");
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes the maps true to the configuration in force. A failure is logged and made an event: the next change or
    /// the timer tries again.
    pub fn reconcile(&mut self, why: &str) {
        let model = self.loaded.model.clone();
        match tokio::task::block_in_place(|| self.reconcile_to(&model)) {
            Ok(0) => {}
            Ok(count) => tracing::debug!("{count} operations on the maps ({why})"),
            Err(error) => {
                tracing::error!("the maps could not be brought up to date ({why}): {error}");
                self.event(EventKind::Alarm, "maps", &format!("not up to date: {error}"));
            }
        }
    }

    /// Remembers an event.
    pub fn event(&self, kind: EventKind, subject: &str, message: &str) {
        self.events.push(SystemTime::now(), kind, subject, message);
    }
}
