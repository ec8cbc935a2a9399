//! Plans carried out on a dataplane in memory, with packets through the pipeline as the judge.

use super::*;
use crate::dataplane::{Capacity, Dataplane as _, FakeDataplane};
use crate::model::{DatapathLog, Limits, Node, Service, VipOwnership, XdpMode};
use lb_common::hash::HashKey;
use proptest::prelude::*;

const CAPACITY: Capacity = Capacity { services: 16, backends: 32, slots: 4096, flows: 4096 };
const SLOTS: u32 = 251;
/// Rounds that any change takes at most here.
const MAX_ROUNDS: usize = 8;

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

fn backend(number: u8) -> Backend {
    Backend {
        name: format!("web{number}"),
        address: IpAddr::from([10, 0, 0, number]),
        port: Some(8080),
        weight: 100,
        state: AdminState::Active,
    }
}

fn model(mode: ForwardMode, backends: Vec<Backend>, vips: &[[u8; 4]]) -> Model {
    let pool = Pool { backends, ..Pool::new(mode, SLOTS) };
    let services = vips.iter().enumerate().map(|(at, vip)| {
        let service = Service {
            vips: vec![IpAddr::from(*vip)],
            ports: vec![80],
            protocol: Protocol::Tcp,
            pool: "web".to_owned(),
        };
        (format!("service{at}"), service)
    });
    Model {
        node: node(),
        checks: BTreeMap::new(),
        pools: BTreeMap::from([("web".to_owned(), pool)]),
        services: services.collect(),
    }
}

fn hop(number: u8) -> Hop {
    Hop {
        ifindex: 2,
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: Some([2, 0, 0, 0, 1, number]),
        mtu_bytes: 1500,
        preferred_source: Some(IpAddr::from([10, 0, 0, 1])),
        gateway: false,
    }
}

struct World {
    dataplane: FakeDataplane,
    reconciler: Reconciler,
}

impl World {
    fn new(capacity: Capacity) -> Self {
        Self { dataplane: FakeDataplane::new(capacity, HashKey(1, 2)), reconciler: Reconciler::default() }
    }

    fn plan(&mut self, model: &Model, down: &[&str]) -> Result<Plan, ReconcileError> {
        let healthy = model.pools.iter().flat_map(|(pool, value)| {
            value
                .backends
                .iter()
                .filter(|backend| !down.contains(&backend.name.as_str()))
                .map(|backend| BackendName { pool: pool.clone(), name: backend.name.clone() })
        });
        let hops = (0..=255).map(|number| (IpAddr::from([10, 0, 0, number]), Some(hop(number)))).collect();
        let desired =
            Desired { model, healthy: &healthy.collect(), hops: &hops, devices: &BTreeSet::from([2, 3]) };
        self.reconciler.plan(&desired, &self.dataplane.observe().unwrap())
    }

    fn reach(&mut self, model: &Model, down: &[&str]) -> Vec<Op> {
        let mut ops = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let plan = self.plan(model, down).unwrap();
            for op in &plan.ops {
                self.dataplane.apply(op).unwrap();
                self.assert_sound();
            }
            ops.extend(plan.ops);
            if plan.complete {
                break;
            }
        }
        let nothing = Plan { ops: Vec::new(), complete: true };
        assert_eq!(
            self.plan(model, down).unwrap(),
            nothing,
            "plans that were carried out leave nothing to do"
        );
        ops
    }

    /// What must hold after every single operation: slots of live services name backends in use.
    fn assert_sound(&self) {
        let observed = self.dataplane.observe().unwrap();
        for slot in observed.tables.values().flatten() {
            let (_, entry) = observed.backends.get(&slot.current()).expect("a slot names a backend in use");
            assert_ne!(entry.flags & BackendFlags::VALID, 0);
        }
        let nat = abi::ForwardMode::Nat as u8;
        if observed.services.values().any(|value| value.mode == nat && value.slot_count > 0) {
            assert_ne!(observed.settings.reverse_entries, 0, "a live nat service has its return path");
        }
    }

    fn addresses_served(&self) -> BTreeSet<IpAddr> {
        let observed = self.dataplane.observe().unwrap();
        let slots = observed.tables.values().flatten();
        slots.map(|slot| abi::ip_address(observed.backends[&slot.current()].1.address)).collect()
    }
}

#[test]
fn a_first_plan_makes_every_backend_serve() {
    let mut world = World::new(CAPACITY);
    world.reach(&model(ForwardMode::Nat, vec![backend(1), backend(2), backend(3)], &[[192, 0, 2, 1]]), &[]);
    assert_eq!(world.addresses_served().len(), 3);
    assert_eq!(world.dataplane.tables.reverse.len(), 3);
}

#[test]
fn a_backend_that_is_down_keeps_its_index_and_return_path_but_no_slot() {
    let mut world = World::new(CAPACITY);
    let model = model(ForwardMode::Nat, vec![backend(1), backend(2)], &[[192, 0, 2, 1]]);
    world.reach(&model, &[]);
    let before = world.dataplane.observe().unwrap();
    world.reach(&model, &["web2"]);
    let after = world.dataplane.observe().unwrap();
    assert_eq!(world.addresses_served(), BTreeSet::from([IpAddr::from([10, 0, 0, 1])]));
    assert_eq!((before.backends, before.reverse), (after.backends, after.reverse));
}

#[test]
fn with_nobody_left_the_table_is_gone_and_comes_back() {
    let mut world = World::new(CAPACITY);
    let model = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    world.reach(&model, &["web1"]);
    assert!(world.dataplane.tables.services.values().all(|value| value.slot_count == 0));
    world.reach(&model, &[]);
    assert_eq!(world.addresses_served().len(), 1);
}

#[test]
fn services_of_one_pool_share_its_table() {
    let mut world = World::new(CAPACITY);
    world.reach(&model(ForwardMode::DsrL2, vec![backend(1)], &[[192, 0, 2, 1], [192, 0, 2, 2]]), &[]);
    assert_eq!(world.dataplane.observe().unwrap().tables.len(), 1);
}

#[test]
fn a_drained_backend_and_one_of_weight_0_take_no_slot() {
    let mut world = World::new(CAPACITY);
    let drained = Backend { state: AdminState::Drain, ..backend(2) };
    let weightless = Backend { weight: 0, ..backend(3) };
    world.reach(&model(ForwardMode::Nat, vec![backend(1), drained, weightless], &[[192, 0, 2, 1]]), &[]);
    assert_eq!(world.addresses_served(), BTreeSet::from([IpAddr::from([10, 0, 0, 1])]));
    assert_eq!(
        world.dataplane.tables.reverse.len(),
        3,
        "replies of their established connections still pass"
    );
}

#[test]
fn indexes_are_cleared_after_the_last_reader() {
    let mut world = World::new(CAPACITY);
    world.reach(&model(ForwardMode::Nat, vec![backend(1), backend(2)], &[[192, 0, 2, 1]]), &[]);
    let ops = world.reach(&model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]), &[]);
    let position = |wanted: fn(&Op) -> bool| ops.iter().position(wanted).expect("the plan has the operation");
    let switch = position(|op| matches!(op, Op::PutService(..)));
    let wait = position(|op| matches!(op, Op::WaitForReaders));
    let clear = position(|op| matches!(op, Op::ClearBackend(_)));
    assert!(switch < wait && wait < clear, "{ops:?}");
}

#[test]
fn too_many_backends_and_slots_are_told() {
    let small = Capacity { services: 1, backends: 2, slots: 300, flows: 1024 };
    let mut world = World::new(small);
    let three = model(ForwardMode::Nat, vec![backend(1), backend(2), backend(3)], &[[192, 0, 2, 1]]);
    assert!(matches!(
        world.plan(&three, &[]),
        Err(ReconcileError::TooMany { what: "backends", wanted: 3, .. })
    ));
    let two = model(ForwardMode::Nat, vec![backend(1), backend(2)], &[[192, 0, 2, 1], [192, 0, 2, 2]]);
    assert!(matches!(
        world.plan(&two, &[]),
        Err(ReconcileError::TooMany { what: "frontends", wanted: 2, .. })
    ));
    let one = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    world.reach(&one, &[]);
    let other = model(ForwardMode::Nat, vec![backend(2)], &[[192, 0, 2, 1]]);
    assert!(matches!(world.plan(&other, &[]), Err(ReconcileError::NoRoom { count: SLOTS, .. })));
}

#[test]
fn a_tunnel_without_a_source_forwards_nothing() {
    let model = model(ForwardMode::DsrIpip, vec![backend(1)], &[[192, 0, 2, 1]]);
    let entry = |hops: &BTreeMap<IpAddr, Option<Hop>>| {
        let (healthy, devices) = (BTreeSet::new(), BTreeSet::new());
        let desired = Desired { model: &model, healthy: &healthy, hops, devices: &devices };
        backend_entry(ForwardMode::DsrIpip, &backend(1), &desired, None)
    };
    assert_eq!(entry(&BTreeMap::new()).flags, 0);
    let hops = BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), Some(hop(1)))]);
    assert_eq!(entry(&hops).flags, BackendFlags::VALID | BackendFlags::RESOLVED);
}

#[test]
fn a_frame_for_a_vip_is_never_given_to_a_router() {
    let model = model(ForwardMode::DsrL2, vec![backend(1)], &[[192, 0, 2, 1]]);
    let hops = BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), Some(Hop { gateway: true, ..hop(1) }))]);
    let (healthy, devices) = (BTreeSet::new(), BTreeSet::new());
    let desired = Desired { model: &model, healthy: &healthy, hops: &hops, devices: &devices };
    assert_eq!(backend_entry(ForwardMode::DsrL2, &backend(1), &desired, None).flags, 0);
}

#[test]
fn a_way_that_was_not_looked_up_yet_stays_as_it_was() {
    let model = model(ForwardMode::DsrL2, vec![backend(1)], &[[192, 0, 2, 1]]);
    let (healthy, devices) = (BTreeSet::new(), BTreeSet::new());
    let known = BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), Some(hop(1)))]);
    let entry = |hops: &BTreeMap<IpAddr, Option<Hop>>, before: Option<&abi::Backend>| {
        let desired = Desired { model: &model, healthy: &healthy, hops, devices: &devices };
        backend_entry(ForwardMode::DsrL2, &backend(1), &desired, before)
    };
    let before = entry(&known, None);
    assert_eq!(entry(&BTreeMap::new(), Some(&before)), before);
    let lost = BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), None)]);
    assert_eq!(entry(&lost, Some(&before)).flags, BackendFlags::VALID);
}

/// Room for one table beside those of all pools: every pool changes, one after the other.
#[test]
fn several_pools_change_with_room_for_one_new_table() {
    let mut world = World::new(Capacity { services: 16, backends: 32, slots: 4 * SLOTS, flows: 4096 });
    let pools = |count: u8| {
        let mut all = model(ForwardMode::Nat, vec![backend(1)], &[]);
        all.pools.clear();
        for number in 1..=3_u8 {
            let backends = (1..=count).map(|at| backend(number * 10 + at)).collect();
            let name = format!("pool{number}");
            let pool = Pool { backends, ..Pool::new(ForwardMode::Nat, SLOTS) };
            let service = Service {
                vips: vec![IpAddr::from([192, 0, 2, number])],
                ports: vec![80],
                protocol: Protocol::Tcp,
                pool: name.clone(),
            };
            all.pools.insert(name.clone(), pool);
            all.services.insert(name, service);
        }
        all
    };
    world.reach(&pools(2), &[]);
    assert_eq!(world.addresses_served().len(), 6);
    world.reach(&pools(1), &[]);
    assert_eq!(world.addresses_served().len(), 3);
}

#[test]
fn free_regions_are_found_between_and_behind() {
    let region = |offset, count| Region { offset, count };
    let taken = BTreeSet::from([region(0, 10), region(30, 10)]);
    assert_eq!(free_region(&taken, 20, 100), Some(region(10, 20)));
    assert_eq!(free_region(&taken, 21, 100), Some(region(40, 21)));
    assert_eq!(free_region(&taken, 61, 100), None);
    assert_eq!(free_region(&BTreeSet::new(), 100, 100), Some(region(0, 100)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// From any state to any other, also after a crash anywhere in between.
    #[test]
    fn any_state_is_reached_from_any_other(
        steps in proptest::collection::vec(
            (
                proptest::sample::select(vec![ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip]),
                proptest::collection::btree_set(1_u8..8, 0..6),
                proptest::collection::btree_set(1_u8..4, 0..3),
                proptest::option::of(1_u8..8),
                any::<proptest::sample::Index>(),
            ),
            1..8,
        )
    ) {
        let mut world = World::new(CAPACITY);
        for (mode, backends, vips, down, crash) in steps {
            let vips: Vec<[u8; 4]> = vips.into_iter().map(|number| [192, 0, 2, number]).collect();
            let model = model(mode, backends.iter().map(|number| backend(*number)).collect(), &vips);
            let down = down.map(|number| format!("web{number}"));
            let down: Vec<&str> = down.iter().map(String::as_str).collect();
            let ops = world.plan(&model, &down).unwrap();
            for op in ops.ops.iter().take(crash.index(ops.ops.len() + 1)) {
                world.dataplane.apply(op).unwrap();
                world.assert_sound();
            }
            world.reconciler = Reconciler::default();
            world.reach(&model, &down);
            let served = if vips.is_empty() {
                BTreeSet::new()
            } else {
                let up = backends.iter().filter(|number| !down.contains(&format!("web{number}").as_str()));
                up.map(|number| IpAddr::from([10, 0, 0, *number])).collect()
            };
            prop_assert_eq!(world.addresses_served(), served);
        }
    }
}
