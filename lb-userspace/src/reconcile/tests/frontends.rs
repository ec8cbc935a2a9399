//! Ranges, networks, both families and what `full-nat` sends from.

use super::*;
use crate::dataplane::{NetworkPrefix, PortsPrefix};
use crate::model::Prefix;
use lb_common::abi::{AddressFlags, Lookups, PortsKey, ServiceKey};

fn prefix(text: &str) -> Prefix {
    let (address, bits) =
        text.split_once('/').unwrap_or((text, if text.contains(':') { "128" } else { "32" }));
    Prefix::new(address.parse().unwrap(), bits.parse().unwrap()).unwrap()
}

fn service(vips: &[&str], ports: &[Ports]) -> Service {
    Service {
        vips: vips.iter().map(|vip| prefix(vip)).collect(),
        ports: ports.to_vec(),
        protocol: Protocol::Tcp,
        pool: "web".to_owned(),
    }
}

/// A backend without a port; from 100 on of IPv6.
fn bare(number: u8) -> Backend {
    let address = if number < 100 {
        IpAddr::from([10, 0, 0, number])
    } else {
        IpAddr::from([0x2001, 0xdb8, 3, 0, 0, 0, 0, u16::from(number)])
    };
    Backend { port: None, address, ..backend(number) }
}

fn site(mode: ForwardMode, backends: &[u8], services: &[Service]) -> Model {
    let mut site = model(mode, backends.iter().map(|number| bare(*number)).collect(), &[]);
    site.node.tunnel_sources = vec![prefix("172.16.0.0/16"), prefix("2001:db8:f::/64")];
    let names = (0..).map(|number| format!("service{number}"));
    site.services = names.zip(services.iter().cloned()).collect();
    if mode == ForwardMode::FullNat {
        let pool = site.pools.get_mut("web").unwrap();
        pool.snat = ["10.0.0.250", "10.0.0.251", "2001:db8::5"].map(|text| text.parse().unwrap()).to_vec();
    }
    site
}

fn observed(world: &World) -> Observed {
    world.dataplane.observe().unwrap()
}

/// What a packet to an address and port finds.
fn found(world: &World, to: &str, port: u16) -> Option<ServiceValue> {
    let address = address(to.parse().unwrap());
    let key = ServiceKey { address, port: port.to_be(), protocol: 6, zero: 0 };
    keys::service_of(&world.dataplane.tables, &key, abi::is_mapped(address))
}

/// Addresses of the backends that a frontend's slots lead to.
fn served_by(world: &World, to: &str, port: u16) -> BTreeSet<IpAddr> {
    let observed = observed(world);
    let value = found(world, to, port).expect("a frontend");
    let slots = observed.tables.get(&Region::of(&value)).map_or(&[][..], Vec::as_slice);
    let indexes = slots.iter().map(|slot| slot.current()).filter(|index| *index != Slot::NOBODY);
    indexes.map(|index| abi::ip_address(observed.backends[&index].1.address)).collect()
}

#[test]
fn ranges_and_any_port_are_found_in_their_order() {
    let mut world = World::new(CAPACITY);
    let all = [Ports::One(80), Ports::Range(70, 99)];
    let services = [service(&["192.0.2.1"], &all), service(&["192.0.2.1"], &[Ports::Any])];
    world.reach(&site(ForwardMode::Nat, &[1, 2], &services), &[]);
    let index = |port| found(&world, "192.0.2.1", port).unwrap().index;
    let (one, range, any) = (index(80), index(70), index(5));
    assert_eq!(BTreeSet::from([one, range, any]).len(), 3, "three frontends count by themselves");
    assert!([71, 79, 81, 99].iter().all(|port| index(*port) == range));
    assert!([1, 69, 100, 65_535].iter().all(|port| index(*port) == any));
    assert_eq!(found(&world, "192.0.2.2", 80), None);
    let seen = observed(&world);
    assert_eq!(seen.service_indexes().len(), 3);
    assert_eq!(seen.settings.lookups, Lookups::PORTS | Lookups::REVERSE_PORTS);
    let flags = AddressFlags::VIP | AddressFlags::RANGES | AddressFlags::ANY_PORT;
    assert_eq!(seen.addresses, BTreeMap::from([(address(IpAddr::from([192, 0, 2, 1])), flags)]));
    assert_eq!(seen.tables.len(), 1, "they share the pool's table");
}

#[test]
fn replies_of_ranges_keep_their_ports() {
    let mut world = World::new(CAPACITY);
    world.reach(&site(ForwardMode::Nat, &[1], &[service(&["192.0.2.1"], &[Ports::Any])]), &[]);
    let seen = observed(&world);
    assert_ne!(seen.settings.reverse_entries, 0, "the return path is looked at");
    let key =
        PortsKey { address: address(IpAddr::from([10, 0, 0, 1])), protocol: 6, zero: 0, port: 0, zeros: 0 };
    let whole = PortsPrefix { key, bits: PortsKey::BITS_BEFORE_PORT };
    assert_eq!(seen.reverse_ranges.keys().collect::<Vec<_>>(), [&whole]);
    assert_eq!(
        (seen.reverse_ranges[&whole].port, seen.reverse_ranges[&whole].vip[3]),
        (0, u32::from_be(0xc000_0201))
    );
    world.reach(&site(ForwardMode::Nat, &[1], &[service(&["192.0.2.1"], &[Ports::One(80)])]), &[]);
    let seen = observed(&world);
    assert!(seen.reverse_ranges.is_empty());
    assert_eq!((seen.settings.lookups, seen.settings.reverse_entries), (0, 1));
}

#[test]
fn a_network_is_announced_after_its_frontends_and_taken_back_before_them() {
    let mut world = World::new(CAPACITY);
    let services = [
        service(&["192.0.2.0/28"], &[Ports::One(80), Ports::Range(90, 91)]),
        service(&["192.0.2.0/30"], &[Ports::One(80)]),
    ];
    let ops = world.reach(&site(ForwardMode::DsrL2, &[1], &services), &[]);
    let at = |wanted: &dyn Fn(&Op) -> bool| ops.iter().rposition(wanted).unwrap();
    assert!(at(&|op| matches!(op, Op::PutService(..))) < at(&|op| matches!(op, Op::PutNetwork(..))));
    let smaller = found(&world, "192.0.2.3", 80).unwrap().index;
    let larger = found(&world, "192.0.2.4", 80).unwrap().index;
    assert_ne!(smaller, larger);
    assert_eq!(found(&world, "192.0.2.3", 90), None, "the longest network decides alone");
    assert!(found(&world, "192.0.2.15", 91).is_some() && found(&world, "192.0.2.16", 80).is_none());
    let seen = observed(&world);
    assert!(seen.addresses.is_empty(), "no address of a network is the node's own");
    let bits: Vec<u32> = seen.networks.keys().map(|NetworkPrefix { bits, .. }| *bits).collect();
    assert_eq!(bits, [124, 126]);
    let ops = world.reach(&site(ForwardMode::DsrL2, &[1], &[]), &[]);
    let first = |wanted: &dyn Fn(&Op) -> bool| ops.iter().position(wanted).unwrap();
    assert!(
        first(&|op| matches!(op, Op::DeleteNetwork(..))) < first(&|op| matches!(op, Op::DeleteService(..)))
    );
    assert_eq!(ops.last(), Some(&Op::SetLookups(0)));
}

#[test]
fn each_family_has_its_backends_and_its_table() {
    let services = [service(&["192.0.2.1", "2001:db8::1"], &[Ports::One(80)])];
    let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), bare(101).address);
    for mode in [ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::FullNat] {
        let mut world = World::new(CAPACITY);
        world.reach(&site(mode, &[1, 101], &services), &[]);
        assert_eq!(observed(&world).tables.len(), 2, "{mode:?}");
        assert_eq!(served_by(&world, "192.0.2.1", 80), BTreeSet::from([v4]), "{mode:?}");
        assert_eq!(served_by(&world, "2001:db8::1", 80), BTreeSet::from([v6]), "{mode:?}");
    }
    let mut world = World::new(CAPACITY);
    world.reach(&site(ForwardMode::DsrGue, &[1, 101], &services), &[]);
    assert_eq!(observed(&world).tables.len(), 1, "tunnels carry either family");
    assert_eq!(served_by(&world, "192.0.2.1", 80), served_by(&world, "2001:db8::1", 80));
}

#[test]
fn tunnels_start_from_a_network_of_the_backends_family_and_gue_has_its_port() {
    let services = [service(&["192.0.2.1"], &[Ports::One(80)])];
    let mut world = World::new(CAPACITY);
    world.reach(&site(ForwardMode::DsrGue, &[1, 101], &services), &[]);
    let seen = observed(&world);
    let entry = |address: IpAddr| {
        let wanted = abi::address(address);
        seen.backends.values().find(|(_, entry)| entry.address == wanted).unwrap().1
    };
    let (v4, v6) = (entry(IpAddr::from([10, 0, 0, 1])), entry(bare(101).address));
    assert_eq!(v4.tunnel_source, abi::address(IpAddr::from([172, 16, 0, 0])));
    assert_eq!(v4.tunnel_vary, 0x0000_ffff_u32.to_be());
    assert_eq!(v6.tunnel_source, abi::address("2001:db8:f::".parse().unwrap()));
    assert_eq!(v6.tunnel_vary, u32::MAX, "at most the last 32 bits");
    assert_eq!((v4.port, v6.port), (6_080_u16.to_be(), 6_080_u16.to_be()));
    let mut one = site(ForwardMode::DsrIpip, &[1], &services);
    one.node.tunnel_sources = vec![prefix("172.16.0.1")];
    world.reach(&one, &[]);
    let seen = observed(&world);
    let (_, entry) = seen.backends.values().find(|(_, entry)| entry.address[3] == v4.address[3]).unwrap();
    assert_eq!((entry.tunnel_vary, entry.port), (0, 0));
}

#[test]
fn what_full_nat_sends_from_stays_where_it_is() {
    let services = [service(&["192.0.2.1"], &[Ports::One(80)])];
    let mut world = World::new(CAPACITY);
    let mut all = site(ForwardMode::FullNat, &[1], &services);
    world.reach(&all, &[]);
    let run = |world: &World| {
        let seen = observed(world);
        let (_, entry) = seen.backends.values().next().unwrap();
        let indexes = (u32::from(entry.snat_first)..).take(usize::from(entry.snat_count));
        let addresses: Vec<IpAddr> = indexes.map(|index| abi::ip_address(seen.snat[&index])).collect();
        (entry.snat_first, addresses)
    };
    let (first, addresses) = run(&world);
    assert_eq!(addresses, [IpAddr::from([10, 0, 0, 250]), IpAddr::from([10, 0, 0, 251])], "its own family's");
    let seen = observed(&world);
    assert_eq!(seen.settings.lookups, Lookups::SESSIONS);
    let snat = address(IpAddr::from([10, 0, 0, 250]));
    assert_eq!(seen.addresses[&snat], AddressFlags::SNAT);
    // One goes: the other stays at its index. Another pool comes before it in the order of names.
    let other = all.pools["web"].clone();
    all.pools.get_mut("web").unwrap().snat.remove(1);
    all.pools.insert(
        "a".to_owned(),
        Pool { snat: vec!["10.0.0.252".parse().unwrap()], backends: Vec::new(), ..other },
    );
    world.reach(&all, &[]);
    assert_eq!(run(&world), (first, vec![IpAddr::from([10, 0, 0, 250])]));
    assert_eq!(observed(&world).snat.len(), 3, "what nobody names is free again");
    // The pool becomes another one: nothing is left.
    world.reach(&site(ForwardMode::DsrL2, &[1], &services), &[]);
    let seen = observed(&world);
    assert_eq!((seen.snat.len(), seen.settings.lookups), (0, 0));
    assert!(!seen.addresses.contains_key(&snat));
}

#[test]
fn a_backend_that_is_gone_keeps_the_address_that_it_sends_from() {
    let services = [service(&["192.0.2.1"], &[Ports::One(80)])];
    let mut world = World::new(CAPACITY);
    world.reach(&site(ForwardMode::FullNat, &[1, 2], &services), &[]);
    let mut rest = site(ForwardMode::FullNat, &[1], &services);
    rest.pools.get_mut("web").unwrap().snat = vec!["10.0.0.253".parse().unwrap()];
    world.reach(&rest, &[]);
    let former = address(IpAddr::from([10, 0, 0, 250]));
    assert!(observed(&world).snat.values().any(|address| *address == former));
    assert_eq!(observed(&world).addresses[&former], AddressFlags::SNAT, "replies to it are found");
    world.forget();
    world.reach(&rest, &[]);
    assert_eq!(observed(&world).snat.len(), 1);
    assert!(!observed(&world).addresses.contains_key(&former));
}

fn any_ports() -> impl Strategy<Value = Ports> {
    prop_oneof![
        (1_u16..6).prop_map(Ports::One),
        (6_u16..9, 1_u16..4).prop_map(|(first, more)| Ports::Range(first, first + more)),
        Just(Ports::Any),
    ]
}

fn any_vip() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["192.0.2.1", "2001:db8::1", "192.0.2.0/30", "2001:db8::/126"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// From any frontends of any mode to any others, also after a crash anywhere in between: nothing of the former is left,
    /// and each is served by the backends of its family.
    #[test]
    fn any_frontends_are_reached_from_any_others(
        steps in proptest::collection::vec(
            (
                proptest::sample::select(vec![
                    ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip, ForwardMode::DsrGue, ForwardMode::FullNat,
                ]),
                proptest::collection::btree_set(proptest::sample::select(vec![1_u8, 2, 101, 102]), 0..4),
                proptest::collection::btree_set((any_vip(), any_ports()), 0..4),
                any::<proptest::sample::Index>(),
            ),
            1..6,
        )
    ) {
        let mut world = World::new(CAPACITY);
        for (mode, backends, frontends, crash) in steps {
            // Ranges of one VIP do not overlap, and nat has no networks.
            let mut ranges = BTreeSet::new();
            let fits = |(vip, ports): &(&'static str, Ports)| {
                (mode != ForwardMode::Nat || !vip.contains('/'))
                    && (!matches!(ports, Ports::Range(..)) || ranges.insert(*vip))
            };
            let frontends: Vec<_> = frontends.into_iter().filter(fits).collect();
            let services: Vec<Service> = frontends.iter().map(|(vip, ports)| service(&[vip], &[*ports])).collect();
            let backends: Vec<u8> = backends.into_iter().collect();
            let model = site(mode, &backends, &services);
            let plan = world.plan(&model, &[]).unwrap();
            for op in plan.ops.iter().take(crash.index(plan.ops.len() + 1)) {
                world.dataplane.apply(op).unwrap();
                world.assert_sound();
            }
            world.reconciler = Reconciler::default();
            world.reach(&model, &[]);
            world.forget();
            world.reach(&model, &[]);
            let seen = observed(&world);
            prop_assert_eq!(seen.service_indexes().len(), frontends.len());
            let all: BTreeSet<Prefix> = frontends.iter().map(|(vip, _)| prefix(vip)).collect();
            prop_assert_eq!(seen.networks.len(), all.iter().filter(|vip| vip.single().is_none()).count());
            let vips = seen.addresses.values().filter(|flags| **flags & AddressFlags::VIP != 0).count();
            prop_assert_eq!(vips, all.iter().filter(|vip| vip.single().is_some()).count());
            for (vip, ports) in &frontends {
                let frontend = Frontend { vip: prefix(vip), ports: *ports, protocol: Protocol::Tcp };
                let value = *value_of(&seen, &frontend).unwrap();
                let pieces = keys::range_keys(&frontend).map(|key| seen.ranges[&key]);
                prop_assert!(pieces.into_iter().all(|piece| piece == value), "one range, one value");
                let slots = seen.tables.get(&Region::of(&value)).map_or(&[][..], Vec::as_slice);
                let served: BTreeSet<IpAddr> = slots
                    .iter()
                    .filter(|slot| slot.current() != Slot::NOBODY)
                    .map(|slot| abi::ip_address(seen.backends[&slot.current()].1.address))
                    .collect();
                let expected = backends.iter().map(|number| bare(*number).address);
                let families = Families::of(&model.pools["web"], prefix(vip));
                prop_assert_eq!(served, expected.filter(|address| families.admit(*address)).collect());
            }
        }
    }
}
