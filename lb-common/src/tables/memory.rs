//! The maps in ordinary memory, for host tests, the simulator and `lbctl explain`.

use super::{Put, Route, RouteAnswer, RouteQuestion, Tables, Traffic};
use crate::abi::{
    Address, AnswerKind, Backend, BackendCounters, FlowCell, FlowKey, FlowValue, FragmentKey, FragmentValue,
    Limiter, Link, NetworkValue, PortsKey, RangeValue, Recorder, ReverseKey, ReverseRangeValue, ReverseValue,
    ServiceCounters, ServiceKey, ServiceValue, Session, SessionCell, Settings, Slot,
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
    /// Ranges of ports, each with the length of its key in bits.
    pub ranges: Vec<(u32, PortsKey, RangeValue)>,
    /// Networks of VIPs, each with its length in bits.
    pub networks: Vec<(u32, Address, NetworkValue)>,
    /// Ranges of ports that replies come from.
    pub reverse_ranges: Vec<(u32, PortsKey, ReverseRangeValue)>,
    /// VLAN interfaces.
    pub links: BTreeMap<u32, Link>,
    /// Datagrams in fragments, without a bound: tests make few.
    pub fragments: RefCell<BTreeMap<FragmentKey, Rc<FragmentValue>>>,
    /// Sessions, by direction.
    pub sessions: RefCell<BTreeMap<FlowKey, Rc<SessionCell>>>,
    /// Most entries of `sessions`.
    pub session_capacity: usize,
    /// An entry that another CPU makes in the moment in which one of its key is to be made here.
    pub rival: RefCell<Option<(FlowKey, Session)>>,
    /// Addresses that `full-nat` sends from.
    pub snat: Vec<Address>,
    /// Budgets of answers; one CPU.
    pub limiter: RefCell<Limiter>,
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

/// The value of the longest key that `wanted` begins with.
fn longest<'a, K: bytemuck::Pod, V>(entries: &'a [(u32, K, V)], wanted: &[u8]) -> Option<&'a V> {
    let matches = |bits: u32, key: &K| {
        let differs = bytemuck::bytes_of(key)
            .iter()
            .zip(wanted)
            .flat_map(|(key, wanted)| (0..8).rev().map(move |bit| (key ^ wanted) >> bit & 1 != 0))
            .position(|differs| differs);
        differs.is_none_or(|at| at >= bits as usize)
    };
    let found = entries.iter().filter(|(bits, key, _)| matches(*bits, key));
    found.max_by_key(|(bits, ..)| *bits).map(|(_, _, value)| value)
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
            ranges: Vec::new(),
            networks: Vec::new(),
            reverse_ranges: Vec::new(),
            links: BTreeMap::new(),
            fragments: RefCell::default(),
            sessions: RefCell::default(),
            session_capacity: usize::MAX,
            rival: RefCell::default(),
            snat: Vec::new(),
            limiter: RefCell::default(),
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

impl MemTables {
    /// Sets all counters of packets to nothing.
    pub fn forget_counters(&self) {
        self.service_counters.borrow_mut().clear();
        self.backend_counters.borrow_mut().clear();
        self.verdicts.borrow_mut().clear();
    }
}

impl Tables for MemTables {
    type Flow<'a> = Rc<FlowCell>;
    type Session<'a> = Rc<SessionCell>;
    type Fragment<'a> = Rc<FragmentValue>;

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
        !self.reverse.is_empty() || !self.reverse_ranges.is_empty()
    }

    fn reverse(&self, key: &ReverseKey, _v4: bool) -> Option<&ReverseValue> {
        self.reverse.get(key)
    }

    fn lookups(&self) -> u32 {
        self.settings.lookups
    }

    fn range(&self, key: &PortsKey) -> Option<&RangeValue> {
        longest(&self.ranges, bytemuck::bytes_of(key))
    }

    fn network(&self, address: Address) -> Option<&NetworkValue> {
        longest(&self.networks, bytemuck::bytes_of(&address))
    }

    fn reverse_range(&self, key: &PortsKey) -> Option<&ReverseRangeValue> {
        longest(&self.reverse_ranges, bytemuck::bytes_of(key))
    }

    fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Rc<FragmentValue>> {
        self.fragments.borrow().get(key).cloned()
    }

    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
        self.fragments.borrow_mut().insert(*key, Rc::new(*value));
    }

    fn session(&self, key: &FlowKey) -> Option<Rc<SessionCell>> {
        self.sessions.borrow().get(key).cloned()
    }

    fn put_session(&self, key: &FlowKey, session: &Session) -> Put {
        let mut sessions = self.sessions.borrow_mut();
        if let Some((key, rival)) = self.rival.borrow_mut().take_if(|(rival, _)| rival == key) {
            sessions.insert(key, Rc::new(SessionCell::new(rival)));
        }
        if sessions.contains_key(key) {
            return Put::Taken;
        }
        if sessions.len() >= self.session_capacity {
            return Put::Full;
        }
        sessions.insert(*key, Rc::new(SessionCell::new(*session)));
        Put::Done
    }

    fn drop_session(&self, key: &FlowKey) {
        self.sessions.borrow_mut().remove(key);
    }

    fn snat(&self, index: u32) -> Option<Address> {
        self.snat.get(usize::try_from(index).ok()?).copied()
    }

    fn may_answer(&self, kind: AnswerKind) -> bool {
        self.limiter.borrow_mut().take(kind, &self.settings, self.now_ms.get())
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
