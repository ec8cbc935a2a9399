//! The dataplane in memory, with packets that come while the agent works on it.

use crate::clients::Clients;
use lb_common::abi::{BackendCounters, FlowCounters, FlowKey, FlowValue, ServiceCounters, Session, Settings};
use lb_userspace::dataplane::{
    Backends, Dataplane, DataplaneError, FakeDataplane, Observed, Op, SessionPage,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// A packet that comes after so many operations of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Amid {
    pub after: u8,
    pub flow: usize,
    pub opens: bool,
}

/// The dataplane and its clients.
pub struct Spy {
    pub fake: FakeDataplane,
    pub clients: RefCell<Clients>,
    pub amid: RefCell<Vec<Amid>>,
    operations: Cell<u8>,
    wrong: RefCell<Option<String>>,
}

impl Spy {
    pub fn new(fake: FakeDataplane, clients: Clients) -> Self {
        Self {
            fake,
            clients: RefCell::new(clients),
            amid: RefCell::default(),
            operations: Cell::new(0),
            wrong: RefCell::default(),
        }
    }

    /// The agent has ended its work: what went wrong meanwhile. Packets that are left come now.
    pub fn ended(&self) -> Result<(), String> {
        self.operations.set(u8::MAX - 1);
        self.operated();
        self.operations.set(0);
        self.wrong.take().map_or(Ok(()), Err)
    }

    /// The agent has done one operation.
    fn operated(&self) {
        self.operations.set(self.operations.get().saturating_add(1));
        let due: Vec<Amid> =
            self.amid.borrow_mut().extract_if(.., |amid| amid.after < self.operations.get()).collect();
        for Amid { flow, opens, .. } in due {
            if let Err(wrong) = self.clients.borrow_mut().go_on(&self.fake.tables, flow, opens) {
                self.wrong.borrow_mut().get_or_insert(wrong);
            }
        }
    }
}

impl Dataplane for Spy {
    fn observe(&self) -> Result<Observed, DataplaneError> {
        self.fake.observe()
    }

    fn settings(&self) -> Result<Settings, DataplaneError> {
        self.fake.settings()
    }

    fn backends(&self) -> Result<Backends, DataplaneError> {
        self.fake.backends()
    }

    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        self.fake.apply(op)?;
        self.operated();
        Ok(())
    }

    fn service_counters(&self, index: u32) -> Result<ServiceCounters, DataplaneError> {
        self.fake.service_counters(index)
    }

    fn backend_counters(&self, index: u32) -> Result<BackendCounters, DataplaneError> {
        self.fake.backend_counters(index)
    }

    fn sweep_flows(
        &mut self,
        is_over: &mut dyn FnMut(&FlowKey, FlowValue) -> bool,
    ) -> Result<(), DataplaneError> {
        let mut over: Vec<FlowKey> = Vec::new();
        for (key, value) in self.fake.tables.flows.borrow().iter() {
            if is_over(key, value) {
                over.push(*key);
            }
        }
        // The kernel's entries go a moment after they were looked at.
        self.operated();
        for key in &over {
            self.fake.tables.flows.borrow_mut().remove(key);
        }
        let entries = self.fake.tables.flows.borrow().iter().count();
        self.clients.borrow_mut().forgotten(&over, entries);
        self.operated();
        Ok(())
    }

    fn sessions_from(&self, position: Option<u32>) -> Result<SessionPage, DataplaneError> {
        self.fake.sessions_from(position)
    }

    fn session(&self, key: &FlowKey) -> Result<Option<Session>, DataplaneError> {
        self.fake.session(key)
    }

    fn forget_sessions(&mut self, keys: &[FlowKey]) -> Result<(), DataplaneError> {
        self.fake.forget_sessions(keys)
    }

    fn flow_counters(&self) -> Result<FlowCounters, DataplaneError> {
        let counters = self.fake.flow_counters();
        self.operated();
        counters
    }

    fn verdicts(&self) -> Result<BTreeMap<u8, u64>, DataplaneError> {
        self.fake.verdicts()
    }
}
