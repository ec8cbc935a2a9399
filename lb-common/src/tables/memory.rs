//! The maps in ordinary memory, for host tests, the simulator and `lbctl explain`.

use super::{Route, RouteAnswer, RouteQuestion, Tables, Traffic};
use crate::abi::{
    Address, Backend, BackendCounters, ReverseKey, ReverseValue, ServiceCounters, ServiceKey, ServiceValue,
    Slot,
};
use crate::hash::HashKey;
use std::cell::RefCell;
use std::collections::BTreeMap;

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
    /// Counters of frontends by index.
    pub service_counters: RefCell<BTreeMap<u32, ServiceCounters>>,
    /// Counters of backends by index.
    pub backend_counters: RefCell<BTreeMap<u32, BackendCounters>>,
    /// Packets by verdict number.
    pub verdicts: RefCell<BTreeMap<u8, u64>>,
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
            service_counters: RefCell::default(),
            backend_counters: RefCell::default(),
            verdicts: RefCell::default(),
        }
    }
}

impl Tables for MemTables {
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
        self.routes.get(&question.destination).copied().unwrap_or(Route::without_hop(RouteAnswer::None))
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
