//! Answers for the tests of this room.

use crate::api::types::{
    AdminState, AttachMode, BackendCounts, BackendDetail, BackendInfo, CheckInfo, CheckLoad, CheckResult,
    CheckVerdict, ConfigInfo, Event, EventLevel, FlowTableInfo, ForwardMode, HealthInfo, HealthState,
    InterfaceInfo, LimitUsage, NextHop, Protocol, Rates, ServiceInfo, SessionTableInfo, Status, VerdictCount,
    VerdictKind, VipInfo,
};

/// 2026-11-22T10:00:00Z.
const TEN_UNIX_SECONDS: u64 = 1_795_341_600;

pub(super) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        abi_version: 1,
        pid: 4711,
        uptime_seconds: 7_500,
        config: ConfigInfo {
            path: "/etc/lb/lb.toml".into(),
            generation: 12,
            loaded_unix_seconds: TEN_UNIX_SECONDS,
            hash: "9f3ac2".into(),
        },
        warnings: vec!["eth1: generic mode, because its driver has no XDP".into()],
        interfaces: vec![
            interface("eth0", 2, AttachMode::Native, 41, true),
            interface("eth1", 3, AttachMode::Generic, 42, false),
        ],
        limits: vec![limit("services", 1), limit("backends", 3_900)],
        service_count: 1,
        backends: BackendCounts { total: 3, up: 1, down: 1, draining: 1, maintenance: 0, unknown: 0 },
        verdicts: vec![
            VerdictCount { name: "nat".into(), kind: VerdictKind::Forward, packets: 1_250_000 },
            VerdictCount { name: "no_backend".into(), kind: VerdictKind::Drop, packets: 17 },
        ],
        vips: vec![
            VipInfo {
                interface: Some("eth0".into()),
                owned: true,
                ..VipInfo::nowhere([203, 0, 113, 10].into())
            },
            VipInfo::nowhere([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10].into()),
        ],
        flows: FlowTableInfo { capacity: 524_288, ..FlowTableInfo::default() },
        sessions: SessionTableInfo { capacity: 1_000_000, ..SessionTableInfo::default() },
        checks: CheckLoad { questions: 3, started: 34_567, ..CheckLoad::default() },
    }
}

fn interface(name: &str, ifindex: u32, mode: AttachMode, program_id: u32, adopted: bool) -> InterfaceInfo {
    InterfaceInfo { name: name.into(), ifindex, mode, program_id, adopted }
}

fn limit(name: &str, used: u64) -> LimitUsage {
    LimitUsage { name: name.into(), used, capacity: 4_096 }
}

pub(super) fn services() -> Vec<ServiceInfo> {
    vec![
        ServiceInfo {
            name: "web".into(),
            protocol: Protocol::Tcp,
            frontends: vec!["203.0.113.10:80".into(), "[2001:db8::10]:80".into()],
            pool: "web".into(),
            mode: ForwardMode::Nat,
            backends_up: 1,
            backends_total: 3,
            packets: 1_250_000,
            bytes: 3_400_000_000,
            new_connections: 9_999,
            rates: Some(Rates {
                packets_per_second: 12_345,
                bytes_per_second: 1_536,
                new_connections_per_second: 40,
            }),
        },
        ServiceInfo {
            name: "dns".into(),
            protocol: Protocol::Udp,
            frontends: vec!["203.0.113.11:53".into()],
            pool: "resolvers".into(),
            mode: ForwardMode::DsrIpip,
            backends_up: 2,
            backends_total: 2,
            packets: 0,
            bytes: 0,
            new_connections: 0,
            rates: None,
        },
    ]
}

pub(super) fn backends() -> Vec<BackendInfo> {
    let web1 = BackendInfo {
        pool: "web".into(),
        name: "web1".into(),
        index: 1,
        address: [10, 0, 0, 11].into(),
        port: Some(80),
        weight: 100,
        admin_state: AdminState::Active,
        health: HealthInfo {
            state: HealthState::Up,
            since_seconds: 12,
            reason: None,
            last_latency_us: Some(850),
            detail: None,
            held_seconds: 0,
        },
        slot_share_percent: 66.666,
        next_hop: NextHop::Resolved { mac: "02:00:00:00:00:0b".into(), interface: "eth0".into() },
        packets: 1_250_000,
        bytes: 3_400_000_000,
        new_connections: 9_999,
        remembered_flows: 0,
        settles_in_seconds: None,
        drained: false,
    };
    let web2 = BackendInfo {
        name: "web2".into(),
        index: 2,
        address: [10, 0, 0, 12].into(),
        health: HealthInfo {
            state: HealthState::Down,
            since_seconds: 185,
            reason: Some("connection refused".into()),
            last_latency_us: None,
            detail: None,
            held_seconds: 0,
        },
        slot_share_percent: 0.0,
        packets: 17,
        bytes: 1_536,
        new_connections: 2,
        ..web1.clone()
    };
    let web3 = BackendInfo {
        name: "web3".into(),
        index: 3,
        address: [0xfd00, 0, 0, 0, 0, 0, 0, 0x13].into(),
        port: None,
        weight: 50,
        admin_state: AdminState::Drain,
        slot_share_percent: 33.333,
        next_hop: NextHop::Unresolved { error: "no route to fd00::13".into() },
        ..web1.clone()
    };
    vec![web1, web2, web3]
}

/// A backend in full.
pub(super) fn backend() -> BackendDetail {
    let mut backend = backends().remove(0);
    backend.health.detail = Some("its certificate expires at 2026-12-01T00:00:00Z".into());
    let result = |ago_ms, verdict, latency_us, message: &str| CheckResult {
        ago_ms,
        verdict,
        latency_us,
        message: message.into(),
    };
    BackendDetail {
        backend,
        served: true,
        standby_of: None,
        check: Some(CheckInfo {
            name: "front".into(),
            kind: "https".into(),
            address: Some(([10, 0, 0, 11], 443).into()),
            interval_ms: 1_000,
            timeout_ms: 500,
            rise: 2,
            fall: 3,
            good_in_a_row: 12,
            bad_in_a_row: 0,
            good: 120,
            bad: 3,
            inconclusive: 1,
            certificate_expires_unix_seconds: Some(1_796_083_200),
        }),
        results: vec![
            result(2_400, CheckVerdict::Bad, None, "10.0.0.11:443 refused the connection"),
            result(1_400, CheckVerdict::Inconclusive, None, "10.0.0.11:443 was not asked"),
            result(400, CheckVerdict::Good, Some(850), "answered in 850.0µs"),
        ],
    }
}

/// A backend that drains, one that has, and one in maintenance.
pub(super) fn backends_that_go() -> Vec<BackendInfo> {
    let web1 = BackendInfo {
        admin_state: AdminState::Drain,
        slot_share_percent: 0.0,
        remembered_flows: 37,
        settles_in_seconds: Some(290),
        ..backends().remove(0)
    };
    let web2 = BackendInfo {
        name: "web2".into(),
        remembered_flows: 0,
        settles_in_seconds: None,
        drained: true,
        ..web1.clone()
    };
    let health = HealthInfo { state: HealthState::Unknown, ..web2.health.clone() };
    let web3 =
        BackendInfo { name: "web3".into(), admin_state: AdminState::Maintenance, health, ..web2.clone() };
    vec![web1, web2, web3]
}

/// A flow table at work, in a flood.
pub(super) fn flows() -> FlowTableInfo {
    FlowTableInfo {
        capacity: 524_288,
        entries: 37,
        recorded: 1_204,
        hits: 12_345,
        evicted: 3,
        refused_opening: 120_000,
        refused_established: 2,
        refused_udp: 0,
        slots_learning: 120,
        slots_tracked: 4,
    }
}

/// A session table in use.
pub(super) fn sessions() -> SessionTableInfo {
    SessionTableInfo { capacity: 1_000_000, entries: 50_000, opening: 3, expired: 12_345 }
}

pub(super) fn events() -> Vec<Event> {
    vec![
        Event {
            sequence: 7,
            unix_time_ms: TEN_UNIX_SECONDS * 1_000 + 250,
            level: EventLevel::Info,
            kind: "reload".into(),
            subject: None,
            message: "generation 12 is in force".into(),
        },
        Event {
            sequence: 8,
            unix_time_ms: TEN_UNIX_SECONDS * 1_000 + 1_000,
            level: EventLevel::Error,
            kind: "backend_down".into(),
            subject: Some("web/web2".into()),
            message: "connection refused, 3 times in a row".into(),
        },
    ]
}

/// What scripts read is what the API says: every sample survives JSON.
#[test]
fn every_answer_survives_json() {
    fn survives<T>(value: &T)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
    }
    survives(&status());
    survives(&services());
    survives(&backends());
    survives(&backend());
    survives(&backends_that_go());
    survives(&Status { flows: flows(), sessions: sessions(), ..status() });
    survives(&events());
}
