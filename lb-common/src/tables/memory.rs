//! The maps in ordinary memory, for host tests, the simulator and `lbctl explain`.

use super::{Route, RouteAnswer, RouteQuestion, Tables, Traffic};
use crate::abi::{
    Address, Backend, BackendCounters, FlowCell, FlowKey, FlowValue, Recorder, ReverseKey, ReverseValue,
    ServiceCounters, ServiceKey, ServiceValue, Settings, Slot,
};
use crate::hash::HashKey;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Tables in memory. Fields are public: whoever owns one fills it.
#[derive(Debug)]
pub struct MemTables {
    /// Key of the flow hash.
    pub hash_key: HashKey,
    /// Frontends.
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// Slot tables.
    pub slots: Vec<Slot>,
    /// Backends by index.
    pub backends: Vec<Backend>,
    /// Return path of `nat`.
    pub reverse: BTreeMap<ReverseKey, ReverseValue>,
    /// Answers of the routing table by destination; [`RouteAnswer::None`] for all others.
    pub routes: BTreeMap<Address, Route>,
    /// Who answers about routes instead, where an answer depends on more than the destination.
    pub router: Option<Box<dyn Router>>,
    /// Counters of frontends by index.
    pub service_counters: RefCell<BTreeMap<u32, ServiceCounters>>,
    /// Counters of backends by index.
    pub backend_counters: RefCell<BTreeMap<u32, BackendCounters>>,
    /// Packets by verdict number.
    pub verdicts: RefCell<BTreeMap<u8, u64>>,
    /// The monotonic clock, in milliseconds.
    pub now_ms: Cell<u64>,
    /// Flows that are remembered.
    pub flows: RefCell<LruFlows>,
    /// Budgets and counters of recording; one CPU.
    pub recorder: RefCell<Recorder>,
    /// What the agent told the datapath.
    pub settings: Settings,
}

/// A routing table.
pub trait Router: core::fmt::Debug {
    /// Its answer.
    fn route(&self, question: &RouteQuestion) -> Route;
}

/// A flow table that throws out whoever was looked for the longest time ago.
#[derive(Debug, Default)]
pub struct LruFlows {
    /// Most entries.
    pub capacity: usize,
    /// Entries with the number of their last use.
    entries: BTreeMap<FlowKey, (Rc<FlowCell>, u64)>,
    uses: u64,
}

impl LruFlows {
    /// An empty table.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, entries: BTreeMap::new(), uses: 0 }
    }

    /// What is remembered of a flow; that counts as a use.
    pub fn get(&mut self, key: &FlowKey) -> Option<Rc<FlowCell>> {
        self.uses += 1;
        let (cell, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(cell.clone())
    }

    /// Remembers a flow. False if there is no room at all.
    pub fn insert(&mut self, key: FlowKey, value: FlowValue) -> bool {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.capacity {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            if oldest.and_then(|key| self.entries.remove(&key)).is_none() {
                return false;
            }
        }
        self.uses += 1;
        self.entries.insert(key, (Rc::new(FlowCell::new(value)), self.uses));
        true
    }

    /// Forgets a flow.
    pub fn remove(&mut self, key: &FlowKey) {
        self.entries.remove(key);
    }

    /// Every flow.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, FlowValue)> {
        self.entries.iter().map(|(key, (cell, _))| (key, cell.load()))
    }
}

impl MemTables {
    /// Empty tables.
    pub fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            services: BTreeMap::new(),
            slots: Vec::new(),
            backends: Vec::new(),
            reverse: BTreeMap::new(),
            routes: BTreeMap::new(),
            router: None,
            service_counters: RefCell::default(),
            backend_counters: RefCell::default(),
            verdicts: RefCell::default(),
            now_ms: Cell::new(0),
            flows: RefCell::default(),
            recorder: RefCell::default(),
            settings: Settings::default(),
        }
    }
}

impl Tables for MemTables {
    type Flow<'a> = Rc<FlowCell>;

    fn hash_key(&self) -> HashKey {
        self.hash_key
    }

    fn service(&self, key: &ServiceKey, _v4: bool) -> Option<&ServiceValue> {
        self.services.get(key)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(usize::try_from(index).ok()?).copied()
    }

    fn backend(&self, index: u32) -> Option<&Backend> {
        self.backends.get(usize::try_from(index).ok()?)
    }

    fn has_reverse(&self) -> bool {
        !self.reverse.is_empty()
    }

    fn reverse(&self, key: &ReverseKey, _v4: bool) -> Option<&ReverseValue> {
        self.reverse.get(key)
    }

    fn route(&self, question: &RouteQuestion) -> Route {
        let listed = || self.routes.get(&question.destination).copied();
        match &self.router {
            Some(router) => router.route(question),
            None => listed().unwrap_or(Route::without_hop(RouteAnswer::None)),
        }
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn flow(&self, key: &FlowKey) -> Option<Rc<FlowCell>> {
        self.flows.borrow_mut().get(key)
    }

    fn record(&self, key: &FlowKey, value: &FlowValue) -> bool {
        self.flows.borrow_mut().insert(*key, *value)
    }

    fn with_recorder<R>(&self, work: impl FnOnce(&mut Recorder, &Settings) -> R) -> Option<R> {
        Some(work(&mut self.recorder.borrow_mut(), &self.settings))
    }

    fn count_service(&self, index: u32, traffic: Traffic) {
        self.service_counters.borrow_mut().entry(index).or_default().count(traffic.bytes, traffic.opens);
    }

    fn count_backend(&self, index: u32, traffic: Traffic) {
        self.backend_counters.borrow_mut().entry(index).or_default().count(traffic.bytes, traffic.opens);
    }

    fn count_reply(&self, service_index: u32, backend_index: u32, bytes: u32) {
        self.service_counters.borrow_mut().entry(service_index).or_default().count_reply(bytes);
        self.backend_counters.borrow_mut().entry(backend_index).or_default().count_reply(bytes);
    }

    fn count_verdict(&self, number: u8) {
        *self.verdicts.borrow_mut().entry(number).or_default() += 1;
    }
}
