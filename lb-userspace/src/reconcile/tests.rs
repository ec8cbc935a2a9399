//! Plans carried out on a dataplane in memory, with packets through the pipeline as the judge.

use super::backends::backend_entry;
use super::tables::free_region;
use super::*;
use crate::dataplane::{Capacity, Dataplane as _, FakeDataplane, Region};
use crate::model::{
    AdminState, Backend, DatapathLog, Limits, Node, Ports, Protocol, Service, VipOwnership, XdpMode,
};
use lb_common::abi::{BackendFlags, ServiceValue, Slot, address};
use lb_common::hash::HashKey;
use proptest::prelude::*;

mod frontends;

const CAPACITY: Capacity = Capacity { services: 16, backends: 32, slots: 4096, flows: 4096, sessions: 64 };
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
        standby_of: None,
    }
}

fn model(mode: ForwardMode, backends: Vec<Backend>, vips: &[[u8; 4]]) -> Model {
    let pool = Pool { backends, ..Pool::new(mode, SLOTS) };
    let services = vips.iter().enumerate().map(|(at, vip)| {
        let service = Service {
            vips: vec![IpAddr::from(*vip).into()],
            ports: vec![Ports::One(80)],
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
    dead: BTreeSet<BackendName>,
    given_up: BTreeSet<u64>,
    flows_of: BTreeSet<u32>,
    links: BTreeMap<u32, abi::Link>,
    kept_sources: BTreeSet<abi::Address>,
}

impl World {
    fn new(capacity: Capacity) -> Self {
        Self {
            dataplane: FakeDataplane::new(capacity, HashKey(1, 2)),
            reconciler: Reconciler::default(),
            dead: BTreeSet::new(),
            given_up: BTreeSet::new(),
            flows_of: BTreeSet::new(),
            links: BTreeMap::new(),
            kept_sources: BTreeSet::new(),
        }
    }

    fn plan(&mut self, model: &Model, down: &[&str]) -> Result<Plan, ReconcileError> {
        let healthy = model.pools.iter().flat_map(|(pool, value)| {
            value
                .backends
                .iter()
                .filter(|backend| !down.contains(&backend.name.as_str()))
                .map(|backend| BackendName::of(pool, backend))
        });
        let v4 = (0..=255).map(|number| (IpAddr::from([10, 0, 0, number]), Some(hop(number))));
        let v6 = |number: u8| IpAddr::from([0x2001, 0xdb8, 3, 0, 0, 0, 0, u16::from(number)]);
        let hops = v4.chain((100..=110).map(|number| (v6(number), Some(hop(number))))).collect();
        let desired = Desired {
            model,
            healthy: &healthy.collect(),
            hops: &hops,
            devices: &BTreeSet::from([2, 3]),
            links: &self.links,
            shares: &BTreeMap::new(),
            dead: &self.dead,
            given_up: &self.given_up,
            flows_of: Some(&self.flows_of),
            kept_sources: &self.kept_sources,
        };
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
            let done = plan.complete && plan.ops.is_empty();
            ops.extend(plan.ops);
            // Indexes that the tables of before still led to become free in the round after.
            if done {
                break;
            }
        }
        let nothing = Plan { ops: Vec::new(), learning: BTreeMap::new(), complete: true };
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
            let base = slot.has_base().then_some(slot.base());
            for index in [slot.current()].into_iter().chain(base).filter(|index| *index != Slot::NOBODY) {
                let (_, entry) = observed.backends.get(&index).expect("a slot names a backend in use");
                assert_ne!(entry.flags & BackendFlags::VALID, 0);
            }
        }
        for (_, entry) in
            observed.backends.values().filter(|(_, entry)| entry.flags & BackendFlags::TAGGED != 0)
        {
            assert!(observed.links.contains_key(&entry.ifindex), "a tagged backend has its VLAN");
        }
        let nat = abi::ForwardMode::Nat as u8;
        let serves = |value: &ServiceValue| {
            observed
                .tables
                .get(&Region::of(value))
                .is_some_and(|table| table.iter().any(|slot| slot.current() != Slot::NOBODY))
        };
        if observed.services.values().any(|value| value.mode == nat && serves(value)) {
            assert_ne!(observed.settings.reverse_entries, 0, "a live nat service has its return path");
        }
    }

    fn addresses_served(&self) -> BTreeSet<IpAddr> {
        let observed = self.dataplane.observe().unwrap();
        let slots = observed.tables.values().flatten().filter(|slot| slot.current() != Slot::NOBODY);
        slots.map(|slot| abi::ip_address(observed.backends[&slot.current()].1.address)).collect()
    }

    /// Every slot as if all flows of before had ended.
    fn forget(&mut self) {
        let observed = self.dataplane.observe().unwrap();
        for (region, slots) in observed.tables {
            let slots = slots.iter().map(|slot| slot.tracked().stabilised()).collect();
            self.dataplane.apply(&Op::WriteSlots { offset: region.offset, slots }).unwrap();
        }
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
    let rest = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    let mut ops = world.reach(&rest, &[]);
    world.forget();
    ops.extend(world.reach(&rest, &[]));
    let position = |wanted: fn(&Op) -> bool| ops.iter().position(wanted).expect("the plan has the operation");
    let switch = position(|op| matches!(op, Op::PutService(..)));
    let wait = position(|op| matches!(op, Op::WaitForReaders));
    let clear = position(|op| matches!(op, Op::ClearBackend(_)));
    assert!(switch < wait && wait < clear, "{ops:?}");
}

#[test]
fn a_backend_that_is_gone_stays_until_nothing_leads_to_it() {
    let mut world = World::new(CAPACITY);
    let frontends: &[[u8; 4]] = &[[192, 0, 2, 1]];
    world.reach(&model(ForwardMode::Nat, vec![backend(1), backend(2)], frontends), &[]);
    let rest = model(ForwardMode::Nat, vec![backend(1)], frontends);
    world.reach(&rest, &[]);
    let index_of_2 = |world: &World| {
        let observed = world.dataplane.observe().unwrap();
        let address = address(IpAddr::from([10, 0, 0, 2]));
        observed.backends.iter().find(|(_, (_, entry))| entry.address == address).map(|(index, _)| *index)
    };
    let index = index_of_2(&world).expect("learning slots lead to it");
    assert_eq!(world.dataplane.tables.reverse.len(), 2, "its replies pass");
    world.forget();
    world.flows_of = BTreeSet::from([index]);
    world.reach(&rest, &[]);
    assert_eq!(index_of_2(&world), Some(index), "a flow leads to it");
    world.flows_of.clear();
    world.reach(&rest, &[]);
    assert_eq!(index_of_2(&world), None);
    assert_eq!(world.dataplane.tables.reverse.len(), 1);
}

#[test]
fn a_dead_backend_is_nobodys_base_and_known_as_dead() {
    let mut world = World::new(CAPACITY);
    let model = model(ForwardMode::Nat, vec![backend(1), backend(2)], &[[192, 0, 2, 1]]);
    world.reach(&model, &[]);
    world.reach(&model, &["web2"]);
    let with_base = |world: &World| {
        world.dataplane.observe().unwrap().tables.values().flatten().filter(|slot| slot.has_base()).count()
    };
    assert!(with_base(&world) > 100, "half of {SLOTS} slots learn");
    world.dead = BTreeSet::from([BackendName { pool: "web".to_owned(), name: "web2".to_owned() }]);
    let ops = world.reach(&model, &["web2"]);
    assert_eq!(with_base(&world), 0);
    assert!(!ops.iter().any(|op| matches!(op, Op::PutService(..))), "phases change in place: {ops:?}");
    let flags = |world: &World| -> Vec<u16> {
        world
            .dataplane
            .observe()
            .unwrap()
            .backends
            .values()
            .map(|(_, entry)| entry.flags & BackendFlags::DEAD)
            .collect()
    };
    assert_eq!(flags(&world), [0, BackendFlags::DEAD]);
    world.dead.clear();
    world.reach(&model, &[]);
    assert_eq!(flags(&world), [0, 0]);
}

#[test]
fn a_backend_that_was_down_when_it_was_removed_is_waited_for_by_nobody() {
    let mut world = World::new(CAPACITY);
    let frontends: &[[u8; 4]] = &[[192, 0, 2, 1]];
    let both = model(ForwardMode::Nat, vec![backend(1), backend(2)], frontends);
    world.reach(&both, &[]);
    world.reach(&both, &["web2"]);
    world.given_up.insert(identity("web", &backend(2)).identity);
    world.reach(&model(ForwardMode::Nat, vec![backend(1)], frontends), &[]);
    let observed = world.dataplane.observe().unwrap();
    assert_eq!(observed.backends.len(), 1);
    assert!(observed.tables.values().flatten().all(|slot| !slot.has_base()));
}

/// Both orders of names: which frontend comes first must not matter.
#[test]
fn a_service_that_joins_a_pool_leaves_its_flows_alone() {
    for joins in ["a-service", "z-service"] {
        let mut world = World::new(CAPACITY);
        let mut site = model(ForwardMode::Nat, vec![backend(1), backend(2)], &[]);
        let other = Pool { backends: vec![backend(3), backend(4)], ..Pool::new(ForwardMode::Nat, SLOTS) };
        site.pools.insert("other".to_owned(), other);
        let service = |vip: u8, pool: &str| Service {
            vips: vec![IpAddr::from([192, 0, 2, vip]).into()],
            ports: vec![Ports::One(80)],
            protocol: Protocol::Tcp,
            pool: pool.to_owned(),
        };
        site.services.insert("m-service".to_owned(), service(1, "web"));
        site.services.insert(joins.to_owned(), service(2, "other"));
        world.reach(&site, &[]);
        let table_of = |world: &World, vip: u8| {
            let observed = world.dataplane.observe().unwrap();
            let (_, value) = observed
                .services
                .iter()
                .find(|(key, _)| key.address == address(IpAddr::from([192, 0, 2, vip])))
                .unwrap();
            observed.tables[&Region::of(value)].clone()
        };
        let before = table_of(&world, 1);
        site.services.insert(joins.to_owned(), service(2, "web"));
        world.reach(&site, &[]);
        assert_eq!(table_of(&world, 1), before, "{joins}");
        assert_eq!(table_of(&world, 2), before, "{joins}");
    }
}

#[test]
fn a_flap_gives_every_slot_back() {
    let mut world = World::new(CAPACITY);
    let backends = (1..=5).map(backend).collect();
    let model = model(ForwardMode::Nat, backends, &[[192, 0, 2, 1]]);
    world.reach(&model, &[]);
    let owners = |world: &World| -> Vec<u32> {
        world.dataplane.observe().unwrap().tables.values().flatten().map(|slot| slot.current()).collect()
    };
    let before = owners(&world);
    world.reach(&model, &["web3"]);
    assert_ne!(owners(&world), before);
    world.reach(&model, &[]);
    assert_eq!(owners(&world), before);
    let observed = world.dataplane.observe().unwrap();
    assert!(observed.tables.values().flatten().all(|slot| !slot.has_base()), "nothing is left to learn");
}

#[test]
fn with_nobody_left_old_flows_keep_their_backend() {
    let mut world = World::new(CAPACITY);
    let model = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    world.reach(&model, &[]);
    world.reach(&model, &["web1"]);
    let observed = world.dataplane.observe().unwrap();
    let slots: Vec<&Slot> = observed.tables.values().flatten().collect();
    assert!(slots.iter().all(|slot| slot.current() == Slot::NOBODY && slot.has_base()));
}

#[test]
fn too_many_backends_and_slots_are_told() {
    let small = Capacity { services: 1, backends: 2, slots: 300, flows: 1024, sessions: 64 };
    let mut world = World::new(small);
    let three = model(ForwardMode::Nat, vec![backend(1), backend(2), backend(3)], &[[192, 0, 2, 1]]);
    assert!(matches!(
        world.plan(&three, &[]),
        Err(ReconcileError::TooManyBackends { configured: 3, gone: 0, .. })
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

/// The entry of backend 1 with these ways, after `before`.
fn entry_of_1(
    mode: ForwardMode,
    hops: &BTreeMap<IpAddr, Option<Hop>>,
    before: Option<&abi::Backend>,
) -> abi::Backend {
    let desired = Desired {
        model: &model(mode, vec![backend(1)], &[[192, 0, 2, 1]]),
        healthy: &BTreeSet::new(),
        hops,
        devices: &BTreeSet::new(),
        links: &BTreeMap::new(),
        shares: &BTreeMap::new(),
        dead: &BTreeSet::new(),
        given_up: &BTreeSet::new(),
        flows_of: None,
        kept_sources: &BTreeSet::new(),
    };
    backend_entry(&Pool::new(mode, SLOTS), &backend(1), &desired, before)
}

fn way_to_1(hop: Option<Hop>) -> BTreeMap<IpAddr, Option<Hop>> {
    BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), hop)])
}

#[test]
fn a_tunnel_without_a_source_forwards_nothing() {
    let entry = |hops: BTreeMap<_, _>| entry_of_1(ForwardMode::DsrIpip, &hops, None);
    assert_eq!(entry(BTreeMap::new()).flags, 0);
    assert_eq!(entry(way_to_1(Some(hop(1)))).flags, BackendFlags::VALID | BackendFlags::RESOLVED);
}

#[test]
fn a_frame_for_a_vip_is_never_given_to_a_router() {
    let hops = way_to_1(Some(Hop { gateway: true, ..hop(1) }));
    assert_eq!(entry_of_1(ForwardMode::DsrL2, &hops, None).flags, 0);
}

#[test]
fn a_way_that_was_not_looked_up_yet_stays_as_it_was() {
    let entry = |hops: BTreeMap<_, _>, before| entry_of_1(ForwardMode::DsrL2, &hops, before);
    let before = entry(way_to_1(Some(hop(1))), None);
    assert_eq!(entry(BTreeMap::new(), Some(&before)), before);
    assert_eq!(entry(way_to_1(None), Some(&before)).flags, BackendFlags::VALID);
}

/// Room for one table beside those of all pools: every pool changes, one after the other.
#[test]
fn several_pools_change_with_room_for_one_new_table() {
    let mut world =
        World::new(Capacity { services: 16, backends: 32, slots: 4 * SLOTS, flows: 4096, sessions: 64 });
    let pools = |count: u8| {
        let mut all = model(ForwardMode::Nat, vec![backend(1)], &[]);
        all.pools.clear();
        for number in 1..=3_u8 {
            let backends = (1..=count).map(|at| backend(number * 10 + at)).collect();
            let name = format!("pool{number}");
            let pool = Pool { backends, ..Pool::new(ForwardMode::Nat, SLOTS) };
            let service = Service {
                vips: vec![IpAddr::from([192, 0, 2, number]).into()],
                ports: vec![Ports::One(80)],
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
                any::<bool>(),
            ),
            1..8,
        )
    ) {
        let mut world = World::new(CAPACITY);
        for (mode, backends, vips, down, crash, forget) in steps {
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
            if forget {
                world.forget();
                world.reach(&model, &down);
            }
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

#[test]
fn a_backend_behind_a_vlan_is_tagged_as_long_as_the_vlan_is_there() {
    let link = abi::Link { port: 7, tags: [0x6400_0081, 0] };
    let mut world = World::new(CAPACITY);
    world.links.insert(2, link);
    let model = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    let ops = world.reach(&model, &[]);
    assert!(ops.contains(&Op::PutLink(2, link)));
    let flags = |world: &World| world.dataplane.observe().unwrap().backends[&0].1.flags;
    assert_ne!(flags(&world) & BackendFlags::TAGGED, 0);
    let other = abi::Link { tags: [0x6500_0081, 0], ..link };
    world.links.insert(2, other);
    assert_eq!(world.reach(&model, &[]), [Op::PutLink(2, other)]);
    world.links.clear();
    let ops = world.reach(&model, &[]);
    assert_eq!(flags(&world) & BackendFlags::TAGGED, 0);
    assert!(matches!(ops.as_slice(), [Op::PutBackend { .. }, Op::DeleteLink(2)]), "{ops:?}");
}

#[test]
fn a_way_that_was_not_looked_up_yet_keeps_its_vlan() {
    let link = abi::Link { port: 7, tags: [0x6400_0081, 0] };
    let mut world = World::new(CAPACITY);
    world.links.insert(2, link);
    let model = model(ForwardMode::Nat, vec![backend(1)], &[[192, 0, 2, 1]]);
    world.reach(&model, &[]);
    // As after a restart: neither ways nor interfaces are known.
    let desired = Desired {
        model: &model,
        healthy: &BTreeSet::from([BackendName { pool: "web".to_owned(), name: "web1".to_owned() }]),
        hops: &BTreeMap::new(),
        devices: &BTreeSet::from([2, 3]),
        links: &BTreeMap::new(),
        shares: &BTreeMap::new(),
        dead: &BTreeSet::new(),
        given_up: &BTreeSet::new(),
        flows_of: None,
        kept_sources: &BTreeSet::new(),
    };
    let plan = world.reconciler.plan(&desired, &world.dataplane.observe().unwrap()).unwrap();
    assert_eq!(plan.ops, []);
}
