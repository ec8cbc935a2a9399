//! The reference model: clients that know where each of their flows belongs, and hold every packet to it.
//!
//! A flow belongs to the backend that its last packet met (for a connection that is half open: its last SYN). That is
//! all there is to know: no slots, no phases, no table of flows. What is promised of it is in [`Flow::is_promised`].

use crate::case::{FLOWS, Setup};
use crate::packet::{self, BackendId, Path, Sign};
use crate::tally::Tally;
use crate::world::{self, Scene, bit};
use lb_common::abi::{DropReason, FlowKey, RecordKind, ServiceKey, address, is_mapped};
use lb_common::hash::{Flow as FlowTuple, flow_slot};
use lb_common::pipeline::Verdict;
use lb_common::tables::MemTables;
use lb_common::wire::{tcp, udp};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A client answers a SYN-ACK within this time, or the connection is not promised anything yet.
const HANDSHAKE_MS: u64 = 4_000;
/// Longest idle time of a connection that the client has closed.
const CLOSING_MS: u64 = 60_000;
/// Addresses that clients have.
const CLIENTS: u8 = 5;
/// Learning is ended by force after ten `flow_timeout`s of refusals; this many are surely below that.
const SURELY_LEARNING: u64 = 7;
/// Refusals with longer pauses than `flow_timeout` and this are not one row.
const ROW_MS: u64 = 8_000;

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Closed,
    HalfOpen,
    Open,
    Closing,
}

/// One flow.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a reason of its own not to hold the datapath to its word"
)]
struct Flow {
    path: Path,
    key: FlowKey,
    pool: u8,
    stage: Stage,
    /// Where it belongs.
    owner: Option<BackendId>,
    /// Its owner died, or its entry was thrown out of a full table.
    waived: bool,
    /// It sent on after its FIN. Whoever did not see the FIN takes it for open then, and a SYN for a repeated one.
    spoke_after_fin: bool,
    /// Its last packet came while the agent worked, when nothing was promised of it, or opened it anew.
    revived: bool,
    /// Its last packet should have been recorded and was not.
    refused: bool,
    /// When its last packet met a backend, and when it sent one.
    last_ms: u64,
    tried_ms: u64,
    /// The smallest `flow_timeout` since its last packet.
    least_ms: u64,
    /// Time between packets that it sends by itself, in thousandths of `flow_timeout`.
    every: u16,
}

impl Flow {
    /// What the whole design is for.
    fn is_promised(&self, now_ms: u64, refusing_since_ms: u64) -> bool {
        if self.owner.is_none() || self.waived || (self.path.udp && self.refused) {
            return false;
        }
        if self.refused && now_ms.saturating_sub(refusing_since_ms) > SURELY_LEARNING * self.least_ms {
            return false;
        }
        let most_ms = match self.stage {
            Stage::Closed => 0,
            Stage::HalfOpen => self.least_ms.min(HANDSHAKE_MS),
            Stage::Open => self.least_ms,
            Stage::Closing => self.least_ms.min(CLOSING_MS),
        };
        now_ms - self.last_ms < most_ms
    }

    const fn next_stage(&self, sign: Sign) -> Stage {
        match (sign, self.stage) {
            _ if self.path.udp => Stage::Open,
            (Sign::Syn, _) => Stage::HalfOpen,
            (Sign::Data, Stage::Closing) | (Sign::Fin, _) => Stage::Closing,
            (Sign::Data, _) => Stage::Open,
            (Sign::Rst, _) => Stage::Closed,
        }
    }
}

/// What a pool looks like to packets; while the agent works, that of before as well.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    scene: Scene,
    before: Scene,
}

/// All clients, and what they found.
pub struct Clients {
    flows: Vec<Flow>,
    pools: Vec<Sight>,
    pub now_ms: u64,
    /// How often the agent looks.
    pub look_ms: u64,
    /// Whether the agent is at work.
    working: bool,
    /// Since when packets of connections are refused in a row, and when the last one was.
    refusing: (u64, u64),
    /// Entries of the flow table.
    entries: usize,
    /// Numbers for sources that nobody knows.
    strangers: u32,
    pub tally: Tally,
}

fn flow(setup: &Setup, number: usize) -> Flow {
    let small = u8::try_from(number).expect("few flows");
    let pool = small % u8::try_from(setup.pools).expect("one or two");
    let udp = number % 8 >= 6;
    let host = small % CLIENTS + 1;
    let client = client(setup.v6, 0, u32::from(host));
    let vips = world::vips(setup, pool);
    let vip = vips[number / 8 % vips.len()];
    let port = if udp { world::UDP_PORT } else { world::TCP_PORTS[number / 4 % 2] };
    let path = Path { client, client_port: 40_000 + u16::from(small), vip, port, udp };
    let key = FlowKey {
        source: address(client),
        destination: address(vip),
        source_port: path.client_port.to_be(),
        destination_port: port.to_be(),
        protocol: u32::from(if udp { udp::PROTOCOL } else { tcp::PROTOCOL }),
    };
    Flow {
        path,
        key,
        pool,
        stage: Stage::Closed,
        owner: None,
        waived: false,
        spoke_after_fin: false,
        revived: false,
        refused: false,
        last_ms: 0,
        tried_ms: 0,
        least_ms: u64::MAX,
        every: 0,
    }
}

fn client(v6: bool, net: u16, host: u32) -> IpAddr {
    let [a, b, c, d] = host.to_be_bytes();
    if v6 {
        IpAddr::from([
            0x2001,
            0xdb8,
            0,
            100 + net,
            0,
            0,
            u16::from_be_bytes([a, b]),
            u16::from_be_bytes([c, d]),
        ])
    } else {
        IpAddr::from([if net == 0 { 10 } else { 100 }, 64 + b % 64, c, d])
    }
}

/// Refusals of a kind so far.
fn refusals(tables: &MemTables, kind: RecordKind) -> u64 {
    *tables.recorder.borrow_mut().counters.refused(kind)
}

impl Clients {
    pub fn new(setup: &Setup) -> Self {
        Self {
            flows: (0..FLOWS).map(|number| flow(setup, number)).collect(),
            pools: vec![Sight::default(); setup.pools],
            now_ms: 0,
            look_ms: 0,
            working: false,
            refusing: (0, 0),
            entries: 0,
            strangers: 0,
            tally: Tally::default(),
        }
    }

    /// The agent begins to work towards these pools: until it has ended, what was and what shall be may both be seen.
    pub fn changing(&mut self, pools: &[Scene]) {
        self.working = true;
        for (sight, scene) in self.pools.iter_mut().zip(pools) {
            (sight.before, sight.scene) = (sight.scene, *scene);
        }
        for flow in &mut self.flows {
            let scene = &pools[usize::from(flow.pool)];
            flow.least_ms = flow.least_ms.min(scene.timeout_ms);
            flow.revived = false;
            let is_dead = |owner: BackendId| scene.dead & bit(owner.number) != 0;
            flow.waived |= flow.owner.is_some_and(is_dead);
        }
    }

    /// The agent has ended its work.
    pub fn changed(&mut self) {
        self.working = false;
        for sight in &mut self.pools {
            sight.before = sight.scene;
        }
    }

    /// The agent took flows out of the table; so many entries are left.
    ///
    /// Between its count and this, a packet may have brought one of them back to life: the entry is lost all the same.
    pub fn forgotten(&mut self, keys: &[FlowKey], entries: usize) {
        self.entries = entries;
        for flow in self.flows.iter_mut().filter(|flow| flow.revived && keys.contains(&flow.key)) {
            self.tally.forgotten_amid += 1;
            flow.waived = true;
        }
    }

    /// When the next flow sends by itself, and which.
    pub fn next_by_itself(&self) -> Option<(u64, usize)> {
        let due = |(at, flow): (usize, &Flow)| {
            let timeout_ms = self.pools[usize::from(flow.pool)].scene.timeout_ms;
            let sends = flow.every > 0 && flow.stage != Stage::Closed;
            sends.then(|| (flow.tried_ms + timeout_ms * u64::from(flow.every) / 1_000, at))
        };
        self.flows.iter().enumerate().filter_map(due).min()
    }

    /// Opens a flow, or asks again.
    pub fn open(&mut self, tables: &MemTables, at: usize, every: u16) -> Result<(), String> {
        let at = at % FLOWS;
        self.flows[at].every = every;
        let sign = if self.flows[at].stage == Stage::Open { Sign::Data } else { Sign::Syn };
        self.send(tables, at, sign)
    }

    /// Goes on with a flow: a SYN if it is closed.
    pub fn go_on(&mut self, tables: &MemTables, at: usize, opens: bool) -> Result<(), String> {
        let at = at % FLOWS;
        let sign = match self.flows[at].stage {
            Stage::Closed => Sign::Syn,
            Stage::HalfOpen | Stage::Closing if opens => Sign::Syn,
            // Nobody answered the SYN.
            Stage::HalfOpen if self.flows[at].owner.is_none() => Sign::Syn,
            Stage::HalfOpen | Stage::Open | Stage::Closing => Sign::Data,
        };
        self.send(tables, at, sign)
    }

    /// Ends a flow that is open.
    pub fn end(&mut self, tables: &MemTables, at: usize, resets: bool) -> Result<(), String> {
        let at = at % FLOWS;
        match self.flows[at].stage {
            Stage::Closed | Stage::HalfOpen => Ok(()),
            Stage::Open | Stage::Closing => self.send(tables, at, if resets { Sign::Rst } else { Sign::Fin }),
        }
    }

    fn send(&mut self, tables: &MemTables, at: usize, sign: Sign) -> Result<(), String> {
        let flow = &self.flows[at];
        let (path, pool) = (flow.path, flow.pool);
        let kind = match sign {
            _ if path.udp => RecordKind::Udp,
            Sign::Syn => RecordKind::Opening,
            Sign::Data | Sign::Fin | Sign::Rst => RecordKind::Established,
        };
        let (went, refused) = self.run(tables, &path, sign, kind);
        let wrong = if path.udp || sign != Sign::Syn {
            self.judge_flow(tables, at, went)
        } else {
            self.judge_syn(at, went, refused)
        };
        let wrong = wrong.or_else(|| self.judge_drop(pool, went, sign == Sign::Syn && refused));
        if let Some(wrong) = wrong {
            let (flow, sight) = (&self.flows[at], &self.pools[usize::from(pool)]);
            return Err(format!(
                "{wrong}: {sign:?} at {} ms, refused {refused}, went {went:?}; {flow:?}; {sight:?}",
                self.now_ms
            ));
        }
        let promised = self.flows[at].is_promised(self.now_ms, self.refusing.0);
        self.note(at, sign, went.ok(), refused);
        self.flows[at].revived = self.working && (sign == Sign::Syn || !promised);
        Ok(())
    }

    /// A flow stays where it was if that is promised.
    fn judge_flow(
        &mut self,
        tables: &MemTables,
        at: usize,
        went: Result<BackendId, Verdict>,
    ) -> Option<&'static str> {
        let flow = &self.flows[at];
        if !flow.is_promised(self.now_ms, self.refusing.0) {
            self.tally.unpromised += u64::from(flow.owner.is_some());
            return None;
        }
        match (went, flow.owner) {
            (Ok(went), Some(owner)) if went == owner => {
                self.tally.promised(!is_with_slot(tables, &flow.key, owner));
                None
            }
            _ => Some("the flow did not stay where it was"),
        }
    }

    /// A SYN that is repeated may meet the backend of before; all others open a connection.
    fn judge_syn(
        &mut self,
        at: usize,
        went: Result<BackendId, Verdict>,
        refused: bool,
    ) -> Option<&'static str> {
        let flow = &self.flows[at];
        if (flow.stage == Stage::HalfOpen || flow.spoke_after_fin) && went.ok() == flow.owner {
            return None;
        }
        self.tally.opened += 1;
        self.judge_opening(flow.pool, went, refused)
    }

    /// New connections go to backends that take new flows; those that cannot be recorded follow the flows of before.
    fn judge_opening(
        &mut self,
        pool: u8,
        went: Result<BackendId, Verdict>,
        refused: bool,
    ) -> Option<&'static str> {
        let Sight { scene, before } = self.pools[usize::from(pool)];
        let went = went.ok()?;
        let takes = went.pool == pool && (scene.eligible | before.eligible) & bit(went.number) != 0;
        if takes {
            return None;
        }
        if refused {
            self.tally.refused_openings += 1;
            return None;
        }
        Some("a new connection met a backend that takes none")
    }

    /// Whoever can be served is.
    fn judge_drop(
        &self,
        pool: u8,
        went: Result<BackendId, Verdict>,
        may_be_refused: bool,
    ) -> Option<&'static str> {
        let Sight { scene, before } = self.pools[usize::from(pool)];
        match went {
            Ok(_) => None,
            Err(Verdict::Drop(DropReason::NoBackend)) if scene.eligible == 0 || before.eligible == 0 => None,
            Err(Verdict::Drop(DropReason::SynRefused)) if may_be_refused => None,
            Err(_) => Some("the packet reached nobody"),
        }
    }

    /// What the packet did to its flow.
    fn note(&mut self, at: usize, sign: Sign, went: Option<BackendId>, refused: bool) {
        let flow = &mut self.flows[at];
        flow.tried_ms = self.now_ms;
        let Some(went) = went else {
            // The client waits, and tries again.
            if flow.stage == Stage::Closed || (sign == Sign::Syn && flow.stage == Stage::Closing) {
                (flow.stage, flow.owner) = (Stage::HalfOpen, None);
            }
            return;
        };
        let sight = &self.pools[usize::from(flow.pool)];
        flow.spoke_after_fin = sign == Sign::Data && flow.stage == Stage::Closing;
        flow.stage = flow.next_stage(sign);
        flow.owner = Some(went);
        flow.refused = refused;
        flow.last_ms = self.now_ms;
        flow.least_ms = sight.scene.timeout_ms.min(sight.before.timeout_ms);
        flow.waived = (sight.scene.dead | sight.before.dead) & bit(went.number) != 0;
    }

    /// Sends packets of sources that nobody knows.
    pub fn flood(&mut self, tables: &MemTables, counts: [u16; 3]) -> Result<(), String> {
        let kinds = [RecordKind::Opening, RecordKind::Established, RecordKind::Udp];
        for (kind, count) in kinds.into_iter().zip(counts) {
            for _ in 0..count {
                self.strangers += 1;
                let like = &self.flows[self.strangers as usize % FLOWS];
                let pool = like.pool;
                let udp = kind == RecordKind::Udp;
                let port = if udp { world::UDP_PORT } else { world::TCP_PORTS[0] };
                let v6 = like.path.vip.is_ipv6();
                let path = Path { client: client(v6, 1, self.strangers), port, udp, ..like.path };
                let sign = if kind == RecordKind::Opening { Sign::Syn } else { Sign::Data };
                let (went, refused) = self.run(tables, &path, sign, kind);
                let opens = kind == RecordKind::Opening;
                let wrong = if opens { self.judge_opening(pool, went, refused) } else { None };
                if let Some(wrong) = wrong.or_else(|| self.judge_drop(pool, went, opens && refused)) {
                    return Err(format!("flood: {wrong}: {kind:?}, went {went:?}"));
                }
            }
        }
        Ok(())
    }

    /// One packet through the datapath: where it went, and whether its flow should have been recorded and was not.
    fn run(
        &mut self,
        tables: &MemTables,
        path: &Path,
        sign: Sign,
        kind: RecordKind,
    ) -> (Result<BackendId, Verdict>, bool) {
        let full = self.entries >= tables.flows.borrow().capacity;
        let before: Option<BTreeSet<FlowKey>> = full.then(|| keys(tables));
        let recorded = tables.recorder.borrow().counters.recorded;
        let refusals_before = refusals(tables, kind);
        let went = packet::run(tables, &packet::frame(path, sign));
        let refused = refusals(tables, kind) != refusals_before;
        if tables.recorder.borrow().counters.recorded != recorded {
            match before {
                Some(before) => self.evicted(&before, &keys(tables)),
                None => self.entries += 1,
            }
        }
        if refused {
            self.tally.refusals += 1;
        }
        if refused && kind == RecordKind::Established {
            let (since_ms, last_ms) = self.refusing;
            let timeout_ms = self.pools.iter().map(|sight| sight.scene.timeout_ms).max().unwrap_or(0);
            let in_a_row = self.now_ms - last_ms < timeout_ms + ROW_MS + 3 * self.look_ms;
            self.refusing = (if in_a_row { since_ms } else { self.now_ms }, self.now_ms);
        }
        (went, refused)
    }

    /// An entry was thrown out of the full table: nothing is promised of its flow until its next packet.
    fn evicted(&mut self, before: &BTreeSet<FlowKey>, after: &BTreeSet<FlowKey>) {
        for key in before.difference(after) {
            self.tally.evictions += 1;
            for flow in self.flows.iter_mut().filter(|flow| flow.key == *key) {
                self.tally.evicted_flows += 1;
                flow.waived = true;
            }
        }
    }
}

fn keys(tables: &MemTables) -> BTreeSet<FlowKey> {
    tables.flows.borrow().iter().map(|(key, _)| *key).collect()
}

/// Whether a flow is where its slot sends new ones.
fn is_with_slot(tables: &MemTables, key: &FlowKey, owner: BackendId) -> bool {
    let protocol = if key.protocol == u32::from(udp::PROTOCOL) { udp::PROTOCOL } else { tcp::PROTOCOL };
    let service = ServiceKey { address: key.destination, port: key.destination_port, protocol, zero: 0 };
    let tuple = FlowTuple {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        protocol,
    };
    let current = tables.services.get(&service).and_then(|value| {
        let v4 = is_mapped(key.destination);
        let place = flow_slot(tables.hash_key, &tuple, v4, value.affinity, value.slot_count);
        let slot = tables.slots.get((value.slot_offset + place) as usize)?;
        tables.backends.get(slot.current() as usize)
    });
    let is_v6 = !is_mapped(key.destination);
    current.is_some_and(|backend| backend.address == address(owner.address(is_v6)))
}
