//! The world around the agent: the configuration, health, next hops and the clock.

use crate::case::{BACKENDS, Change, Setup};
use crate::packet::{BackendId, EGRESS, NODE_MAC};
use lb_userspace::dataplane::Observed;
use lb_userspace::keeper::{Now, Sight, Surroundings};
use lb_userspace::model::{
    AdminState, Backend, DatapathLog, ForwardMode, Limits, Model, Node, Pool, Ports, Protocol, Service,
    VipOwnership, XdpMode,
};
use lb_userspace::reconcile::{BackendName, Hop};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Ports of every pool's TCP service.
pub const TCP_PORTS: [u16; 2] = [80, 443];
/// Port of every pool's UDP service.
pub const UDP_PORT: u16 = 53;
/// When sequences begin, on the monotonic clock.
const START_MS: u64 = 1_000_437;

/// The world.
pub struct World {
    pub model: Model,
    pub now_ms: u64,
    /// Since when backends are down.
    down: BTreeMap<BackendId, u64>,
    began: Instant,
    hops: BTreeMap<IpAddr, Option<Hop>>,
    v6: bool,
}

/// What holds for new flows of a pool; sets of backends are bits by number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scene {
    /// In the configuration.
    pub configured: u16,
    /// May take new flows.
    pub eligible: u16,
    /// Given up.
    pub dead: u16,
    pub timeout_ms: u64,
}

pub const fn bit(number: u8) -> u16 {
    1 << number
}

/// Addresses of the services of a pool. In `nat` a second one would make the return path ambiguous.
pub fn vips(setup: &Setup, pool: u8) -> Vec<IpAddr> {
    let count = if setup.mode == ForwardMode::Nat { 1 } else { 2 };
    let vip = |at: u8| {
        if setup.v6 {
            IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, u16::from(pool), u16::from(at) + 1])
        } else {
            IpAddr::from([192, 0, 2, 10 * pool + at + 1])
        }
    };
    (0..count).map(vip).collect()
}

fn pool_name(pool: u8) -> String {
    format!("p{pool}")
}

fn backend_name(number: u8) -> String {
    format!("b{number}")
}

fn number_of(backend: &Backend) -> u8 {
    backend.name[1..].parse().expect("named by its number")
}

fn backend(pool: u8, number: u8, v6: bool) -> Backend {
    Backend {
        name: backend_name(number),
        address: BackendId { pool, number }.address(v6),
        port: None,
        weight: 100,
        state: AdminState::Active,
        standby_of: None,
    }
}

fn pool(setup: &Setup, number: u8) -> Pool {
    Pool {
        affinity: setup.affinity,
        flow_timeout: Duration::from_millis(setup.timeout_ms),
        slow_start: Duration::from_millis(setup.slow_start_ms),
        dead_after: Duration::from_millis(setup.dead_after_ms),
        backends: (0..setup.backends).map(|at| backend(number, at, setup.v6)).collect(),
        ..Pool::new(setup.mode, setup.slots)
    }
}

fn services(setup: &Setup, pool: u8) -> [(String, Service); 2] {
    let service = |protocol, ports: &[u16]| Service {
        vips: vips(setup, pool).into_iter().map(Into::into).collect(),
        ports: ports.iter().map(|port| Ports::One(*port)).collect(),
        protocol,
        pool: pool_name(pool),
    };
    [
        (format!("tcp{pool}"), service(Protocol::Tcp, &TCP_PORTS)),
        (format!("udp{pool}"), service(Protocol::Udp, &[UDP_PORT])),
    ]
}

fn node() -> Node {
    Node {
        interfaces: vec!["eth0".to_owned()],
        vips: VipOwnership::External,
        xdp_mode: XdpMode::Auto,
        datapath_log: DatapathLog::Off,
        tunnel_sources: Vec::new(),
        control_socket: "/run/lb/lbd.sock".into(),
        bpffs: "/sys/fs/bpf/lb".into(),
        limits: Limits::default(),
    }
}

fn hop(id: BackendId, v6: bool) -> Hop {
    Hop {
        ifindex: EGRESS,
        source_mac: NODE_MAC,
        destination_mac: Some(id.mac()),
        mtu_bytes: 1500,
        preferred_source: Some(BackendId { pool: 250, number: 250 }.address(v6)),
        gateway: false,
    }
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let pools = u8::try_from(setup.pools).expect("one or two");
        let ids = (0..pools).flat_map(|pool| (0..BACKENDS).map(move |number| BackendId { pool, number }));
        Self {
            model: Model {
                node: node(),
                checks: BTreeMap::new(),
                pools: (0..pools).map(|number| (pool_name(number), pool(setup, number))).collect(),
                services: (0..pools).flat_map(|pool| services(setup, pool)).collect(),
            },
            now_ms: START_MS,
            down: BTreeMap::new(),
            began: Instant::now(),
            hops: ids.map(|id| (id.address(setup.v6), Some(hop(id, setup.v6)))).collect(),
            v6: setup.v6,
        }
    }

    fn pool(&self, pool: u8) -> &Pool {
        &self.model.pools[&pool_name(pool)]
    }

    /// Idle time that a flow of a pool may have.
    pub fn timeout_ms(&self, pool: u8) -> u64 {
        u64::try_from(self.pool(pool).flow_timeout.as_millis()).expect("short")
    }

    fn is_dead(&self, pool: &Pool, id: BackendId, backend: &Backend) -> bool {
        let down = self
            .down
            .get(&id)
            .is_some_and(|since| Duration::from_millis(self.now_ms - since) >= pool.dead_after);
        backend.state == AdminState::Maintenance || down
    }

    /// What holds for a pool now.
    pub fn scene(&self, pool: u8) -> Scene {
        let mut scene = Scene { timeout_ms: self.timeout_ms(pool), ..Scene::default() };
        let settings = self.pool(pool);
        for backend in &settings.backends {
            let id = BackendId { pool, number: number_of(backend) };
            let bit = bit(id.number);
            scene.configured |= bit;
            if backend.state == AdminState::Active && backend.weight > 0 && !self.down.contains_key(&id) {
                scene.eligible |= bit;
            }
            if self.is_dead(settings, id, backend) {
                scene.dead |= bit;
            }
        }
        scene
    }

    /// Makes one change.
    pub fn change(&mut self, number: u8, change: Change) {
        let v6 = self.v6;
        let Some(pool) = self.model.pools.get_mut(&pool_name(number)) else { return };
        let id = |who| BackendId { pool: number, number: who };
        let find = |pool: &mut Pool, who| -> Option<usize> {
            pool.backends.iter().position(|backend| number_of(backend) == who)
        };
        let set = |pool: &mut Pool, who, state| {
            if let Some(at) = find(pool, who) {
                pool.backends[at].state = state;
            }
        };
        match change {
            Change::Add(who) if find(pool, who).is_none() => {
                // What was known of its health went with it.
                self.down.remove(&id(who));
                pool.backends.push(backend(number, who, v6));
            }
            Change::Remove(who) => {
                self.down.remove(&id(who));
                pool.backends.retain(|backend| number_of(backend) != who);
            }
            Change::Add(who) | Change::Undrain(who) => set(pool, who, AdminState::Active),
            Change::Drain(who) => set(pool, who, AdminState::Drain),
            Change::Maintain(who) => set(pool, who, AdminState::Maintenance),
            Change::Reweight(who, weight) => {
                if let Some(at) = find(pool, who) {
                    pool.backends[at].weight = weight;
                }
            }
            Change::Down(who) if find(pool, who).is_some() => {
                self.down.entry(id(who)).or_insert(self.now_ms);
            }
            Change::Up(who) => {
                self.down.remove(&id(who));
            }
            Change::Down(_) => {}
            Change::Timeout(timeout_ms) => pool.flow_timeout = Duration::from_millis(timeout_ms),
        }
    }
}

impl Surroundings for World {
    fn now(&self) -> Now {
        Now { instant: self.began + Duration::from_millis(self.now_ms), monotonic_ms: self.now_ms }
    }

    fn see(&self, model: &Model, _observed: &Observed) -> Sight {
        let mut sight =
            Sight { hops: self.hops.clone(), devices: BTreeSet::from([EGRESS]), ..Sight::default() };
        for ((name, pool), number) in model.pools.iter().zip(0..) {
            for backend in &pool.backends {
                let id = BackendId { pool: number, number: number_of(backend) };
                let name = || BackendName::of(name, backend);
                if !self.down.contains_key(&id) {
                    sight.healthy.insert(name());
                }
                if self.is_dead(pool, id, backend) {
                    sight.dead.insert(name());
                }
            }
        }
        sight
    }
}
