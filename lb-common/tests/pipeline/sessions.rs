//! `full-nat`: sessions come to be, are found in both directions, share no port, and end.

use super::oracle::read;
use super::setting::{EGRESS, Extras, Setting, extras, frame, run, settings};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header};
use lb_common::abi::{
    ANSWER_KINDS, AddressFlags, BackendFlags, DropReason, FlowKey, ForwardMode, ForwardReason, Lookups,
    PassReason, ServiceKey, ServiceValue, Session, SessionSeen, SessionState, SessionWay, Slot, address,
};
use lb_common::pipeline::Verdict;
use lb_common::tables::MemTables;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

const FULL_NAT: &[ForwardMode] = &[ForwardMode::FullNat];
/// Ports of an address that sessions may have.
const PORTS: std::ops::RangeInclusive<u16> = 1_024..=u16::MAX;
/// Sessions of one client through one address.
const MANY: u16 = 60_000;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const TO_BACKEND: Verdict = Verdict::Transmit(ForwardReason::FullNat);
const TO_CLIENT: Verdict = Verdict::Redirect(ForwardReason::FullNatReply, EGRESS);

/// Addresses of a family: client, VIP, backend, and what is sent from.
fn setting(v4: bool, protocol: u8) -> Setting {
    let of = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let [client, frontend, target, source] = if v4 {
        ["198.51.100.7:40000", "203.0.113.10:443", "10.0.0.5:8443", "10.0.0.1:0"]
    } else {
        ["[2001:db8:1::7]:40000", "[2001:db8:2::10]:443", "[fd00::5]:8443", "[fd00::1]:0"]
    };
    Setting {
        mode: ForwardMode::FullNat,
        protocol,
        client: of(client),
        frontend: of(frontend),
        target: of(target),
        tunnel_source: of(source).ip(),
    }
}

/// Every family and protocol.
fn every() -> impl Iterator<Item = Setting> {
    [(true, 6), (true, 17), (false, 6), (false, 17)].into_iter().map(|(v4, number)| setting(v4, number))
}

/// Tables with the setting's service, sending from its node address.
fn tables(setting: &Setting) -> MemTables {
    let mut tables = setting.tables();
    let source = address(setting.tunnel_source);
    tables.snat = vec![source];
    tables.backends[0].snat_count = 1;
    for (address, flag) in [(source, AddressFlags::SNAT), (address(setting.frontend.ip()), AddressFlags::VIP)]
    {
        let key = ServiceKey { address, port: 0, protocol: 0, zero: 0 };
        tables.services.insert(key, ServiceValue::of_address(flag));
    }
    tables.settings.lookups = Lookups::SESSIONS;
    tables
}

fn plain() -> Extras {
    Extras {
        ttl: 64,
        class: 0,
        identification: 7,
        flow_label: 0,
        option_words: 0,
        tcp_flags: ACK,
        sequence: 1,
        payload: vec![1, 2, 3],
        padding: 0,
        udp_checksum: true,
    }
}

fn with_flags(tcp_flags: u8) -> Extras {
    Extras { tcp_flags, ..plain() }
}

/// A packet of the client, or its answer from where it arrived.
fn request(setting: &Setting, flags: u8) -> Vec<u8> {
    frame(setting.protocol, setting.client, setting.frontend, &with_flags(flags))
}

/// What the client's packet arrives as: from which port of the node's address.
fn arrives(tables: &MemTables, setting: &Setting, flags: u8) -> SocketAddr {
    let (verdict, out) = run(tables, &request(setting, flags));
    assert_eq!(verdict, TO_BACKEND);
    let reading = read(&out);
    assert!(reading.is_sound(false), "{reading:x?}");
    assert_eq!(reading.destination, setting.target);
    assert_eq!(reading.source.ip(), setting.tunnel_source);
    reading.source
}

/// A packet of the backend to `source`, which has to reach the client.
fn answers(tables: &MemTables, setting: &Setting, source: SocketAddr, flags: u8) {
    let (verdict, out) = run(tables, &frame(setting.protocol, setting.target, source, &with_flags(flags)));
    assert_eq!(verdict, TO_CLIENT);
    let reading = read(&out);
    assert!(reading.is_sound(false), "{reading:x?}");
    assert_eq!((reading.source, reading.destination), (setting.frontend, setting.client));
}

fn key(protocol: u8, source: SocketAddr, destination: SocketAddr) -> FlowKey {
    FlowKey {
        source: address(source.ip()),
        destination: address(destination.ip()),
        source_port: source.port().to_be(),
        destination_port: destination.port().to_be(),
        protocol: u32::from(protocol),
    }
}

/// State of the client's direction and of the backend's.
fn states(tables: &MemTables, setting: &Setting, source: SocketAddr) -> [SessionState; 2] {
    let sessions = tables.sessions.borrow();
    let client = key(setting.protocol, setting.client, setting.frontend);
    let replies = key(setting.protocol, setting.target, source);
    [client, replies].map(|key| sessions.get(&key).expect("an entry").seen().state())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn there_and_back_addresses_are_restored_and_sums_are_right(
        setting in settings(FULL_NAT),
        there in extras(),
        back in extras(),
    ) {
        let hosts = [setting.client.ip(), setting.frontend.ip(), setting.target.ip(), setting.tunnel_source];
        prop_assume!(BTreeSet::from(hosts).len() == hosts.len());
        let tables = tables(&setting);
        let there = Extras { tcp_flags: there.tcp_flags & !ACK | SYN, ..there };
        let (verdict, out) = run(&tables, &frame(setting.protocol, setting.client, setting.frontend, &there));
        prop_assert_eq!(verdict, TO_BACKEND);
        let at_backend = read(&out);
        prop_assert!(at_backend.is_sound(setting.protocol == 17 && !there.udp_checksum), "{:x?}", at_backend);
        prop_assert_eq!((at_backend.source.ip(), at_backend.destination), (setting.tunnel_source, setting.target));
        prop_assert!(PORTS.contains(&at_backend.source.port()));
        prop_assert_eq!((at_backend.ttl, &at_backend.payload), (there.ttl - 1, &there.payload));
        let (verdict, out) = run(&tables, &frame(setting.protocol, setting.target, at_backend.source, &back));
        prop_assert_eq!(verdict, TO_CLIENT);
        let at_client = read(&out);
        prop_assert!(at_client.is_sound(setting.protocol == 17 && !back.udp_checksum), "{:x?}", at_client);
        prop_assert_eq!((at_client.source, at_client.destination), (setting.frontend, setting.client));
        prop_assert_eq!((at_client.ttl, at_client.payload), (back.ttl - 1, back.payload));
    }
}

#[test]
fn a_tcp_session_goes_from_opening_to_closing_in_either_direction() {
    use SessionState::{Closing, Established, Opening, Silent};
    for setting in every().filter(|setting| setting.protocol == 6) {
        let tables = tables(&setting);
        let source = arrives(&tables, &setting, SYN);
        assert_eq!(states(&tables, &setting, source), [Opening, Silent]);
        assert_eq!(arrives(&tables, &setting, SYN), source, "a repeated SYN has the same port");
        answers(&tables, &setting, source, SYN | ACK);
        assert_eq!(states(&tables, &setting, source), [Opening, Established]);
        assert_eq!(arrives(&tables, &setting, ACK), source);
        assert_eq!(states(&tables, &setting, source), [Established, Established]);
        answers(&tables, &setting, source, FIN | ACK);
        assert_eq!(arrives(&tables, &setting, ACK), source);
        assert_eq!(states(&tables, &setting, source), [Established, Closing]);
        assert_eq!(arrives(&tables, &setting, FIN | ACK), source);
        answers(&tables, &setting, source, ACK);
        assert_eq!(states(&tables, &setting, source), [Closing, Closing]);
    }
}

#[test]
fn a_syn_after_the_end_of_either_side_makes_a_new_session() {
    for setting in every().filter(|setting| setting.protocol == 6) {
        for (client, backend) in [(FIN | ACK, None), (RST, None), (ACK, Some(FIN | ACK)), (ACK, Some(RST))] {
            let tables = tables(&setting);
            let source = arrives(&tables, &setting, SYN);
            answers(&tables, &setting, source, SYN | ACK);
            arrives(&tables, &setting, client);
            if let Some(backend) = backend {
                answers(&tables, &setting, source, backend);
            }
            let again = arrives(&tables, &setting, SYN);
            assert_eq!(states(&tables, &setting, again), [SessionState::Opening, SessionState::Silent]);
            assert_eq!(tables.sessions.borrow().len(), 2, "nothing is left of the old one");
        }
    }
}

#[test]
fn a_syn_in_the_middle_of_a_session_changes_nothing() {
    let setting = setting(true, 6);
    let tables = tables(&setting);
    let source = arrives(&tables, &setting, SYN);
    answers(&tables, &setting, source, SYN | ACK);
    arrives(&tables, &setting, ACK);
    assert_eq!(arrives(&tables, &setting, SYN), source);
    assert_eq!(states(&tables, &setting, source), [SessionState::Established; 2]);
}

#[test]
fn what_is_in_the_middle_of_no_session_is_dropped_beyond_a_budget() {
    for setting in every().filter(|setting| setting.protocol == 6) {
        let tables = tables(&setting);
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, 0] {
            let verdict = run(&tables, &request(&setting, flags)).0;
            assert_eq!(verdict, Verdict::Drop(DropReason::NoSession), "flags {flags}");
        }
        assert!(tables.sessions.borrow().is_empty());
    }
}

#[test]
fn what_is_in_the_middle_of_no_session_reaches_a_backend_that_resets_it() {
    for setting in every().filter(|setting| setting.protocol == 6) {
        let mut tables = tables(&setting);
        tables.settings.answer_rates = [lb_common::abi::RecordRate { per_second: 1, burst: 1 }; ANSWER_KINDS];
        tables.now_ms.set(100_000);
        assert_eq!(run(&tables, &request(&setting, RST)).0, Verdict::Drop(DropReason::NoSession));
        assert!(tables.sessions.borrow().is_empty(), "nobody answers a reset");
        let source = arrives(&tables, &setting, ACK);
        assert_eq!(states(&tables, &setting, source), [SessionState::Opening, SessionState::Silent]);
        answers(&tables, &setting, source, RST);
        assert_eq!(states(&tables, &setting, source), [SessionState::Opening, SessionState::Closing]);
        let other = Setting { client: SocketAddr::new(setting.client.ip(), 1), ..setting };
        assert_eq!(run(&tables, &request(&other, ACK)).0, Verdict::Drop(DropReason::NoSession), "the budget");
    }
}

#[test]
fn udp_needs_no_opening_and_each_direction_shows_that_it_was_used() {
    use SessionState::{Established, Silent};
    for setting in every().filter(|setting| setting.protocol == 17) {
        let tables = tables(&setting);
        let source = arrives(&tables, &setting, 0);
        assert_eq!(states(&tables, &setting, source), [Established, Silent]);
        answers(&tables, &setting, source, 0);
        assert_eq!(states(&tables, &setting, source), [Established, Established]);
        assert_eq!(arrives(&tables, &setting, 0), source);
    }
}

#[test]
fn entries_are_stamped_with_the_second_of_their_last_packet() {
    let setting = setting(true, 6);
    let tables = tables(&setting);
    let source = arrives(&tables, &setting, SYN);
    tables.now_ms.set(5_900);
    answers(&tables, &setting, source, SYN | ACK);
    tables.now_ms.set(9_100);
    arrives(&tables, &setting, ACK);
    let sessions = tables.sessions.borrow();
    let seen_s = |key: FlowKey| sessions.get(&key).map(|cell| cell.seen().seen_s());
    assert_eq!(seen_s(key(6, setting.client, setting.frontend)), Some(9));
    assert_eq!(seen_s(key(6, setting.target, source)), Some(5));
}

/// Opens a session; who finds no port asks again a second later, as TCP does.
fn opens_at_last(tables: &MemTables, setting: &Setting) -> SocketAddr {
    for _ in 0..10 {
        let (verdict, out) = run(tables, &request(setting, SYN));
        if verdict == TO_BACKEND {
            return read(&out).source;
        }
        assert_eq!(verdict, Verdict::Drop(DropReason::PortsExhausted));
        tables.now_ms.set(tables.now_ms.get() + 1_000);
    }
    panic!("no port after ten SYNs");
}

#[test]
fn sixty_thousand_sessions_of_one_client_share_no_port() {
    for mut setting in [setting(true, 6), setting(false, 17)] {
        let tables = tables(&setting);
        let mut sources = Vec::new();
        for port in 1..=MANY {
            setting.client.set_port(port);
            let source = opens_at_last(&tables, &setting);
            answers(&tables, &setting, source, SYN | ACK);
            assert_eq!(arrives(&tables, &setting, ACK), source);
            sources.push(source);
        }
        assert_eq!(sources.iter().collect::<BTreeSet<_>>().len(), usize::from(MANY), "all are distinct");
        assert!(sources.iter().all(|source| PORTS.contains(&source.port())));
        assert_eq!(tables.sessions.borrow().len(), 2 * usize::from(MANY));
        for (port, source) in (1..=MANY).zip(&sources) {
            setting.client.set_port(port);
            answers(&tables, &setting, *source, SYN | ACK);
            assert_eq!(arrives(&tables, &setting, ACK), *source);
        }
        let dropped = tables.verdicts.borrow().get(&DropReason::PortsExhausted.number()).copied();
        assert!(dropped.unwrap_or_default() < 100, "{dropped:?} had to ask again");
    }
}

#[test]
fn fifty_thousand_sessions_find_a_port_at_once() {
    let mut setting = setting(true, 6);
    let tables = tables(&setting);
    for port in 1..=50_000 {
        setting.client.set_port(port);
        arrives(&tables, &setting, SYN);
    }
}

#[test]
fn sessions_spread_over_all_addresses() {
    let mut setting = setting(true, 17);
    let mut tables = tables(&setting);
    let addresses: Vec<IpAddr> = (1..=3).map(|last| IpAddr::from([10, 0, 9, last])).collect();
    tables.snat = addresses.iter().map(|ip| address(*ip)).collect();
    tables.snat.insert(0, address(IpAddr::from([192, 0, 2, 1])));
    (tables.backends[0].snat_first, tables.backends[0].snat_count) = (1, 3);
    let mut used = std::collections::BTreeMap::<IpAddr, u32>::new();
    for port in 1..=3_000 {
        setting.client.set_port(port);
        let out = run(&tables, &request(&setting, 0)).1;
        *used.entry(read(&out).source.ip()).or_default() += 1;
    }
    assert_eq!(used.keys().copied().collect::<Vec<_>>(), addresses);
    assert!(used.values().all(|sessions| *sessions > 900), "{used:?}");
}

/// An entry of somebody else's.
fn another(reply: u32) -> Session {
    let way = SessionWay { source: [9; 4], destination: [8; 4], reply, ..SessionWay::default() };
    Session { way, seen: SessionSeen::new(SessionState::Established, 0) }
}

/// Takes ports of the setting's only address away.
fn take(tables: &MemTables, setting: &Setting, ports: impl Iterator<Item = u16>) {
    let mut sessions = tables.sessions.borrow_mut();
    for port in ports {
        let source = SocketAddr::new(setting.tunnel_source, port);
        let cell = std::rc::Rc::new(lb_common::abi::SessionCell::new(another(1)));
        sessions.insert(key(setting.protocol, setting.target, source), cell);
    }
}

#[test]
fn without_a_free_port_the_packet_is_dropped_and_counted() {
    for setting in every() {
        let tables = tables(&setting);
        take(&tables, &setting, PORTS);
        let verdict = run(&tables, &request(&setting, SYN)).0;
        assert_eq!(verdict, Verdict::Drop(DropReason::PortsExhausted));
        assert_eq!(tables.sessions.borrow().len(), PORTS.len(), "nothing is left behind");
    }
}

/// Fills every port of the setting's only address with sessions of others in these states.
fn fill(tables: &MemTables, setting: &Setting, [client, replies]: [SessionState; 2], seen_s: u32) {
    let mut sessions = tables.sessions.borrow_mut();
    let mut put = |key, way, state| {
        let cell = lb_common::abi::SessionCell::new(Session { way, seen: SessionSeen::new(state, seen_s) });
        sessions.insert(key, std::rc::Rc::new(cell));
    };
    for port in PORTS {
        let (other, source) =
            (SocketAddr::new(setting.client.ip(), port), SocketAddr::new(setting.tunnel_source, port));
        let to_client = SessionWay {
            source: address(setting.frontend.ip()),
            destination: address(other.ip()),
            source_port: setting.frontend.port().to_be(),
            destination_port: port.to_be(),
            reply: 1,
            ..SessionWay::default()
        };
        put(key(setting.protocol, setting.target, source), to_client, replies);
        let to_backend = SessionWay {
            source: address(setting.tunnel_source),
            destination: address(setting.target.ip()),
            source_port: port.to_be(),
            destination_port: setting.target.port().to_be(),
            ..SessionWay::default()
        };
        put(key(setting.protocol, other, setting.frontend), to_backend, client);
    }
}

#[test]
fn without_a_free_port_what_is_no_connection_makes_room_and_what_is_one_does_not() {
    use SessionState::{Closing, Established, Opening, Silent};
    let mut setting = setting(true, 6);
    setting.client.set_port(7);
    for client in [Opening, Established, Closing] {
        for replies in [Silent, Opening, Established, Closing] {
            let kept =
                matches!((client, replies), (Established, Established | Closing) | (Closing, Established));
            for (now_s, early) in [(12, true), (14, false)] {
                let tables = tables(&setting);
                tables.now_ms.set(now_s * 1_000);
                fill(&tables, &setting, [client, replies], 10);
                let (verdict, out) = run(&tables, &request(&setting, SYN));
                assert_eq!(tables.sessions.borrow().len(), 2 * PORTS.len(), "one came, one went");
                if kept || early {
                    assert_eq!(verdict, Verdict::Drop(DropReason::PortsExhausted), "{client:?}, {replies:?}");
                } else {
                    assert_eq!(verdict, TO_BACKEND, "{client:?}, {replies:?}");
                    answers(&tables, &setting, read(&out).source, SYN | ACK);
                }
            }
        }
    }
}

#[test]
fn a_second_address_serves_when_the_first_has_no_port_left() {
    let setting = setting(true, 6);
    let mut tables = tables(&setting);
    take(&tables, &setting, PORTS);
    let second = IpAddr::from([10, 0, 0, 2]);
    tables.snat.push(address(second));
    tables.backends[0].snat_count = 2;
    let out = run(&tables, &request(&setting, SYN)).1;
    assert_eq!(read(&out).source.ip(), second);
}

#[test]
fn ports_are_per_backend() {
    let setting = setting(true, 6);
    let tables = tables(&setting);
    let elsewhere = Setting { target: "10.0.0.6:8443".parse().unwrap(), ..setting.clone() };
    take(&tables, &elsewhere, PORTS);
    arrives(&tables, &setting, SYN);
}

#[test]
fn a_full_table_drops_and_leaves_no_half_of_a_session() {
    for capacity in [0, 1] {
        let setting = setting(true, 6);
        let mut tables = tables(&setting);
        tables.session_capacity = capacity;
        let verdict = run(&tables, &request(&setting, SYN)).0;
        assert_eq!(verdict, Verdict::Drop(DropReason::SessionsFull), "room for {capacity}");
        assert!(tables.sessions.borrow().is_empty());
    }
}

#[test]
fn without_addresses_to_send_from_nothing_leaves() {
    let setting = setting(true, 6);
    let mut tables = tables(&setting);
    tables.snat.clear();
    assert_eq!(run(&tables, &request(&setting, SYN)).0, Verdict::Drop(DropReason::Inconsistent));
    tables.snat.push(address("2001:db8::1".parse().unwrap()));
    assert_eq!(run(&tables, &request(&setting, SYN)).0, Verdict::Drop(DropReason::Inconsistent));
    assert!(tables.sessions.borrow().is_empty());
}

#[test]
fn when_another_cpu_makes_the_session_first_its_port_is_used() {
    for setting in every() {
        let tables = tables(&setting);
        let source = SocketAddr::new(setting.tunnel_source, 5_555);
        let way = SessionWay {
            source: address(source.ip()),
            destination: address(setting.target.ip()),
            source_port: source.port().to_be(),
            destination_port: setting.target.port().to_be(),
            ..SessionWay::default()
        };
        let seen = SessionSeen::new(SessionState::Opening, 0);
        let client = key(setting.protocol, setting.client, setting.frontend);
        *tables.rival.borrow_mut() = Some((client, Session { way, seen }));
        assert_eq!(arrives(&tables, &setting, SYN), source);
        let sessions = tables.sessions.borrow();
        assert_eq!(sessions.keys().copied().collect::<Vec<_>>(), [client], "ours is taken away again");
    }
}

#[test]
fn when_another_cpu_takes_the_port_first_the_next_one_is_used() {
    let setting = setting(true, 6);
    let source = arrives(&tables(&setting), &setting, SYN);
    let tables = tables(&setting);
    *tables.rival.borrow_mut() = Some((key(6, setting.target, source), another(1)));
    let next = arrives(&tables, &setting, SYN);
    assert_ne!(next, source);
    answers(&tables, &setting, next, SYN | ACK);
}

#[test]
fn a_reply_entry_that_is_somebody_elses_by_now_is_not_taken_away() {
    let setting = setting(true, 6);
    let tables = tables(&setting);
    let source = arrives(&tables, &setting, SYN);
    take(&tables, &setting, std::iter::once(source.port()));
    arrives(&tables, &setting, RST);
    assert_ne!(arrives(&tables, &setting, SYN), source);
    assert!(tables.sessions.borrow().contains_key(&key(6, setting.target, source)));
}

#[test]
fn the_session_of_a_dead_backend_is_given_up() {
    for setting in every() {
        let mut tables = tables(&setting);
        arrives(&tables, &setting, SYN);
        let mut other = tables.backends[0];
        let target: SocketAddr =
            if setting.client.is_ipv4() { "10.0.0.6:8443" } else { "[fd00::6]:8443" }.parse().unwrap();
        other.address = address(target.ip());
        tables.backends[0].flags |= BackendFlags::DEAD;
        tables.backends.push(other);
        tables.slots[0] = Slot::stable(1);
        let moved = Setting { target, ..setting.clone() };
        if setting.protocol == 6 {
            assert_eq!(run(&tables, &request(&setting, ACK)).0, Verdict::Drop(DropReason::NoSession));
            assert!(tables.sessions.borrow().is_empty());
        }
        let source = arrives(&tables, &moved, SYN);
        assert_eq!(tables.sessions.borrow().len(), 2);
        answers(&tables, &moved, source, SYN | ACK);
    }
}

#[test]
fn a_session_stays_where_it_is_when_its_slot_moves_on_and_nobody_remembers_the_flow_besides() {
    for setting in every() {
        let mut tables = tables(&setting);
        tables.flows.get_mut().capacity = 8;
        let source = arrives(&tables, &setting, SYN);
        let mut other = tables.backends[0];
        let target: SocketAddr =
            if setting.client.is_ipv4() { "10.0.0.6:8443" } else { "[fd00::6]:8443" }.parse().unwrap();
        other.address = address(target.ip());
        tables.backends.push(other);
        tables.slots[0] = Slot::new(1, 0, lb_common::abi::Phase::Learning);
        assert_eq!(arrives(&tables, &setting, ACK), source);
        let mut moved = Setting { target, ..setting.clone() };
        moved.client.set_port(9);
        arrives(&tables, &moved, SYN);
        assert_eq!(tables.flows.borrow().iter().count(), 0);
    }
}

#[test]
fn no_backend_no_session() {
    let setting = setting(true, 6);
    let mut tables = tables(&setting);
    tables.slots[0] = Slot::stable(Slot::NOBODY);
    assert_eq!(run(&tables, &request(&setting, SYN)).0, Verdict::Drop(DropReason::NoBackend));
    tables.slots[0] = Slot::stable(0);
    tables.backends[0].flags |= BackendFlags::DEAD;
    assert_eq!(run(&tables, &request(&setting, SYN)).0, Verdict::Drop(DropReason::NoBackend));
    tables.backends[0].flags = 0;
    assert_eq!(run(&tables, &request(&setting, SYN)).0, Verdict::Drop(DropReason::NoBackend));
    assert!(tables.sessions.borrow().is_empty());
}

#[test]
fn the_nodes_own_connections_from_the_address_reach_the_node_untouched() {
    for setting in every() {
        let tables = tables(&setting);
        let own = SocketAddr::new(setting.tunnel_source, 50_000);
        let packet = frame(setting.protocol, setting.target, own, &plain());
        let (verdict, out) = run(&tables, &packet);
        assert_eq!((verdict, out), (Verdict::Pass(PassReason::NoService), packet));
    }
}

#[test]
fn a_used_up_ttl_makes_no_session_and_is_told_to_the_sender() {
    for setting in every() {
        let mut tables = tables(&setting);
        tables.settings.answer_rates =
            [lb_common::abi::RecordRate { per_second: 10, burst: 10 }; ANSWER_KINDS];
        tables.now_ms.set(1_000_000);
        let packet =
            frame(setting.protocol, setting.client, setting.frontend, &Extras { ttl: 1, ..with_flags(SYN) });
        let (verdict, out) = run(&tables, &packet);
        assert_eq!(verdict, Verdict::Transmit(ForwardReason::ExpiredAnswer));
        let embedded = &out[14 + if setting.client.is_ipv4() { 28 } else { 48 }..];
        assert!(embedded.len() >= 28 && packet[14..].starts_with(embedded), "as it came: {embedded:x?}");
        assert!(tables.sessions.borrow().is_empty());
    }
}

#[test]
fn both_directions_are_counted() {
    let setting = setting(true, 6);
    let tables = tables(&setting);
    let source = arrives(&tables, &setting, SYN);
    arrives(&tables, &setting, ACK);
    answers(&tables, &setting, source, ACK);
    for counters in [
        tables.service_counters.borrow().get(&0).copied().unwrap(),
        tables.backend_counters.borrow().get(&0).copied().unwrap(),
    ] {
        assert_eq!((counters.packets, counters.bytes), (2, 86));
        assert_eq!((counters.new_connections, counters.reply_bytes), (1, 43));
    }
}

/// Splits a whole packet's frame into two fragments.
fn fragments(frame: &[u8], v4: bool) -> [Vec<u8>; 2] {
    const FIRST: usize = 40;
    let more_of = |number| number == 0;
    let part = |header: usize, number: usize| {
        let payload = &frame[14 + header..];
        if number == 0 { payload[..FIRST].to_vec() } else { payload[FIRST..].to_vec() }
    };
    let offset = |number: usize| {
        let units = u16::try_from(number * FIRST / 8).expect("few");
        IpFragOffset::try_new(units).expect("thirteen bits")
    };
    [0, 1].map(|number| {
        let mut out = frame[..14].to_vec();
        if v4 {
            let (mut ip, _) = Ipv4Header::from_slice(&frame[14..]).expect("a whole header");
            let payload = part(20, number);
            (ip.dont_fragment, ip.more_fragments) = (false, more_of(number));
            ip.fragment_offset = offset(number);
            ip.set_payload_len(payload.len()).expect("fits the length field");
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut out).expect("a vector takes every packet");
            out.extend(payload);
        } else {
            let (mut ip, _) = Ipv6Header::from_slice(&frame[14..]).expect("a whole header");
            let payload = part(40, number);
            let extension = Ipv6FragmentHeader::new(ip.next_header, offset(number), more_of(number), 0xfeed);
            ip.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
            ip.set_payload_length(payload.len() + 8).expect("fits the length field");
            ip.write(&mut out).expect("a vector takes every packet");
            extension.write(&mut out).expect("a vector takes every packet");
            out.extend(payload);
        }
        out
    })
}

/// Puts two fragments together again.
fn whole(parts: &[Vec<u8>; 2], v4: bool) -> Vec<u8> {
    let [first, later] = parts;
    let mut out = first[..14].to_vec();
    if v4 {
        let (mut ip, rest) = Ipv4Header::from_slice(&first[14..]).expect("a whole header");
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let (second, more) = Ipv4Header::from_slice(&later[14..]).expect("a whole header");
        assert_eq!(second.header_checksum, second.calc_header_checksum());
        assert_eq!((ip.source, ip.destination), (second.source, second.destination));
        ip.more_fragments = false;
        ip.set_payload_len(rest.len() + more.len()).expect("fits the length field");
        ip.header_checksum = ip.calc_header_checksum();
        ip.write(&mut out).expect("a vector takes every packet");
        out.extend(rest.iter().chain(more));
    } else {
        let (mut ip, rest) = Ipv6Header::from_slice(&first[14..]).expect("a whole header");
        let (second, more) = Ipv6Header::from_slice(&later[14..]).expect("a whole header");
        assert_eq!((ip.source, ip.destination), (second.source, second.destination));
        ip.next_header = IpNumber(rest[0]);
        ip.set_payload_length(rest.len() + more.len() - 16).expect("fits the length field");
        ip.write(&mut out).expect("a vector takes every packet");
        out.extend(rest[8..].iter().chain(&more[8..]));
    }
    out
}

#[test]
fn later_fragments_to_a_session_wait_for_no_first_one() {
    for setting in every() {
        let tables = tables(&setting);
        let source = arrives(&tables, &setting, SYN);
        let [_, later] = fragments(
            &frame(setting.protocol, setting.target, source, &Extras { payload: vec![7; 64], ..plain() }),
            setting.client.is_ipv4(),
        );
        assert_eq!(run(&tables, &later).0, Verdict::Drop(DropReason::FragmentEarly));
    }
}

#[test]
fn fragments_follow_their_session_in_both_directions() {
    for setting in every() {
        let tables = tables(&setting);
        let v4 = setting.client.is_ipv4();
        let source = arrives(&tables, &setting, SYN);
        let payload: Vec<u8> = (0..100).collect();
        let extras = Extras { payload: payload.clone(), ..plain() };
        let ways = [
            (setting.client, setting.frontend, source, setting.target, TO_BACKEND),
            (setting.target, source, setting.frontend, setting.client, TO_CLIENT),
        ];
        for (from, to, new_from, new_to, wanted) in ways {
            let parts = fragments(&frame(setting.protocol, from, to, &extras), v4);
            let parts = parts.map(|part| {
                let (verdict, out) = run(&tables, &part);
                assert_eq!(verdict, wanted);
                out
            });
            let reading = read(&whole(&parts, v4));
            assert!(reading.is_sound(false), "{reading:x?}");
            assert_eq!((reading.source, reading.destination), (new_from, new_to));
            assert_eq!(reading.payload, payload);
        }
        tables.now_ms.set(40_000);
        let [_, later] = fragments(&frame(setting.protocol, setting.client, setting.frontend, &extras), v4);
        assert_eq!(run(&tables, &later).0, Verdict::Drop(DropReason::FragmentEarly), "too late");
    }
}

/// An ICMP error from `from` to `to` that embeds the first bytes of a frame's IP packet.
fn icmp_error(from: IpAddr, to: IpAddr, frame: &[u8]) -> Vec<u8> {
    let embedded = &frame[14..frame.len().min(14 + 68)];
    let step = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut out = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => step
            .ipv4(from.octets(), to.octets(), 64)
            .icmpv4(etherparse::Icmpv4Type::TimeExceeded(
                etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit,
            ))
            .write(&mut out, embedded),
        (IpAddr::V6(from), IpAddr::V6(to)) => step
            .ipv6(from.octets(), to.octets(), 64)
            .icmpv6(etherparse::Icmpv6Type::PacketTooBig { mtu: 1_280 })
            .write(&mut out, embedded),
        _ => panic!("two families"),
    }
    .expect("a vector takes every packet");
    out
}

/// Addresses of an ICMP error whose sums are right, and the frame of what it embeds.
fn read_error(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let packet = etherparse::PacketHeaders::from_ethernet_slice(frame).expect("a whole header");
    let payload = packet.payload.slice();
    let mut embedded = frame[..14].to_vec();
    embedded.extend(payload);
    match (packet.net, packet.transport) {
        (Some(etherparse::NetHeaders::Ipv4(ip, _)), Some(etherparse::TransportHeader::Icmpv4(header))) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(header.checksum, header.icmp_type.calc_checksum(payload));
            (ip.source.into(), ip.destination.into(), embedded)
        }
        (Some(etherparse::NetHeaders::Ipv6(ip, _)), Some(etherparse::TransportHeader::Icmpv6(header))) => {
            let sum = header
                .icmp_type
                .calc_checksum(ip.source, ip.destination, payload)
                .expect("fits the length field");
            assert_eq!(header.checksum, sum);
            (ip.source.into(), ip.destination.into(), embedded)
        }
        other => panic!("no ICMP: {other:?}"),
    }
}

#[test]
fn errors_about_a_session_reach_who_sent_the_packet_and_name_it_as_it_was_sent() {
    for setting in every() {
        let tables = tables(&setting);
        let v4 = setting.client.is_ipv4();
        let router: IpAddr = if v4 { "192.0.2.77" } else { "2001:db8:77::1" }.parse().unwrap();
        let source = arrives(&tables, &setting, SYN);
        let packet = |from, to| frame(setting.protocol, from, to, &plain());
        // A router on the way to the client, about a reply: to the backend, from the node.
        let reply = packet(setting.frontend, setting.client);
        let (verdict, out) = run(&tables, &icmp_error(router, setting.frontend.ip(), &reply));
        assert_eq!(verdict, Verdict::Transmit(ForwardReason::IcmpError));
        let (from, to, embedded) = read_error(&out);
        assert_eq!((from, to), (setting.tunnel_source, setting.target.ip()));
        let inner = read(&embedded);
        assert!(inner.is_sound(false), "{inner:x?}");
        assert_eq!((inner.source, inner.destination), (setting.target, source));
        // A router on the way to the backend, or the backend itself, about a request: to the client.
        let request = packet(source, setting.target);
        for (sender, seen_as) in [(router, router), (setting.target.ip(), setting.frontend.ip())] {
            let (verdict, out) = run(&tables, &icmp_error(sender, source.ip(), &request));
            assert_eq!(verdict, Verdict::Redirect(ForwardReason::IcmpErrorReply, EGRESS));
            let (from, to, embedded) = read_error(&out);
            assert_eq!((from, to), (seen_as, setting.client.ip()));
            let inner = read(&embedded);
            assert!(inner.is_sound(false), "{inner:x?}");
            assert_eq!((inner.source, inner.destination), (setting.client, setting.frontend));
        }
    }
}

#[test]
fn errors_about_no_session_are_left_to_the_node() {
    for setting in every() {
        let tables = tables(&setting);
        let source = SocketAddr::new(setting.tunnel_source, 5_000);
        for (from, to) in [(source, setting.target), (setting.frontend, setting.client)] {
            let packet = frame(setting.protocol, from, to, &plain());
            let error = icmp_error(setting.client.ip(), from.ip(), &packet);
            let (verdict, out) = run(&tables, &error);
            assert_eq!((verdict, out), (Verdict::Pass(PassReason::OtherProtocol), error));
        }
    }
}

#[test]
fn a_backend_that_another_pool_reaches_by_nat_answers_its_sessions_all_the_same() {
    for (setting, is_local) in every().flat_map(|setting| [(setting.clone(), true), (setting, false)]) {
        let mut tables = tables(&setting);
        let key = lb_common::abi::ReverseKey {
            address: address(setting.target.ip()),
            port: setting.target.port().to_be(),
            protocol: setting.protocol,
            zero: 0,
        };
        tables.reverse.insert(key, lb_common::abi::ReverseValue::default());
        // An address that is only routed to the node is one that the kernel would forward to.
        if is_local {
            let own = lb_common::tables::Route::without_hop(lb_common::tables::RouteAnswer::ToNode);
            tables.routes.insert(address(setting.tunnel_source), own);
        }
        let source = arrives(&tables, &setting, SYN);
        answers(&tables, &setting, source, SYN | ACK);
        let request = frame(setting.protocol, source, setting.target, &plain());
        let verdict = run(&tables, &icmp_error(setting.target.ip(), source.ip(), &request)).0;
        assert_eq!(verdict, Verdict::Redirect(ForwardReason::IcmpErrorReply, EGRESS));
    }
}
