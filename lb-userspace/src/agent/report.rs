//! What the agent tells about itself.

use super::admission::{self, Known};
use super::rates::Counters;
use super::state::State;
use super::{around, checks, desired, pools, vips};
use crate::api::types::{
    AdminState, BackendCounts, BackendDetail, BackendInfo, CheckLoad, ConfigInfo, Event, EventLevel,
    FlowTableInfo, ForwardMode, HealthInfo, HealthState, LimitUsage, NextHop, Protocol, ServiceInfo,
    SessionTableInfo, Status, VerdictCount, VerdictKind,
};
use crate::dataplane::{Dataplane as _, DataplaneError, Observed};
use crate::health::{BackendId, Health, TargetStatus};
use crate::model::{self, Backend, Pool};
use crate::netlink::NextHopTable;
use crate::phases;
use crate::reconcile::{BackendName, identity, value_of};
use crate::telemetry::events::{self, EventKind};
use lb_common::abi::{ABI_VERSION, RecordKind, ServiceCounters, verdict_name};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hasher as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Entries of the devmap (lb-ebpf, `maps.rs`).
const DEVICES_CAPACITY: u64 = 256;

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The agent and its datapath at a glance.
pub async fn status(state: &State) -> Result<Status, DataplaneError> {
    let observed = state.dataplane.observe()?;
    let model = &state.loaded.model;
    let mut hash = fnv::FnvHasher::default();
    hash.write(state.loaded.text.as_bytes());
    let mut warnings = state.notices.clone();
    warnings.extend(pools::warnings(&state.verdicts));
    warnings.extend(state.loaded.warnings.iter().cloned());
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        abi_version: ABI_VERSION,
        pid: std::process::id(),
        uptime_seconds: state.started.elapsed().as_secs(),
        config: ConfigInfo {
            path: state.path.display().to_string(),
            generation: state.loaded.generation,
            loaded_unix_seconds: state.loaded.at.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            hash: format!("{:016x}", hash.finish()),
        },
        warnings,
        interfaces: state.interfaces.clone(),
        limits: limits(state, &observed),
        service_count: number(model.services.len()),
        backends: counts(state),
        verdicts: verdicts(state)?,
        vips: vips::report(state).await,
        flows: flow_table(state, &observed),
        sessions: session_table(state, &observed),
        checks: check_load(state),
    })
}

/// The flow table as it was last seen.
fn flow_table(state: &State, observed: &Observed) -> FlowTableInfo {
    let book = &state.keeper.book;
    let counters = &book.counters;
    let phases = phases::count(observed);
    FlowTableInfo {
        capacity: u64::from(observed.capacity.flows),
        entries: book.entries,
        recorded: counters.recorded,
        hits: counters.hits,
        evicted: book.evicted,
        refused_opening: counters.refusals(RecordKind::Opening),
        refused_established: counters.refusals(RecordKind::Established),
        refused_udp: counters.refusals(RecordKind::Udp),
        slots_learning: phases.learning,
        slots_tracked: phases.tracked,
    }
}

/// The session table as it was last seen.
fn session_table(state: &State, observed: &Observed) -> SessionTableInfo {
    let book = &state.keeper.sessions;
    SessionTableInfo {
        capacity: u64::from(observed.capacity.sessions),
        entries: book.count.sessions,
        opening: book.count.opening,
        expired: book.expired,
    }
}

fn check_load(state: &State) -> CheckLoad {
    let punctuality = state.runner.punctuality();
    CheckLoad {
        questions: state.runner.load().groups as u64,
        started: punctuality.started,
        late: punctuality.late,
        worst_late_ms: u64::try_from(punctuality.worst.as_millis()).unwrap_or(u64::MAX),
    }
}

fn limits(state: &State, observed: &Observed) -> Vec<LimitUsage> {
    let slots: u64 = observed.tables.keys().map(|region| u64::from(region.count)).sum();
    let load = state.runner.load();
    let usage = |name: &str, used: u64, capacity: u64| LimitUsage { name: name.to_owned(), used, capacity };
    vec![
        usage("services", observed.service_indexes().len() as u64, u64::from(observed.capacity.services)),
        usage("backends", observed.backends.len() as u64, u64::from(observed.capacity.backends)),
        usage("slots", slots, u64::from(observed.capacity.slots)),
        usage("flows", state.keeper.book.entries, u64::from(observed.capacity.flows)),
        usage("sessions", state.keeper.sessions.count.sessions, u64::from(observed.capacity.sessions)),
        usage("devices", observed.devices.len() as u64, DEVICES_CAPACITY),
        usage("probes", load.probes as u64, load.max_probes as u64),
    ]
}

fn counts(state: &State) -> BackendCounts {
    let checked = state.health();
    let model = &state.loaded.model;
    let mut counts = BackendCounts::default();
    for (pool_name, pool) in &model.pools {
        for backend in pool.own_backends() {
            counts.total += 1;
            let count = match (backend.state, desired::health_of(model, pool_name, backend, &checked)) {
                (model::AdminState::Drain, _) => &mut counts.draining,
                (model::AdminState::Maintenance, _) => &mut counts.maintenance,
                (_, Health::Up) => &mut counts.up,
                (_, Health::Down) => &mut counts.down,
                (_, Health::Unknown) => &mut counts.unknown,
            };
            *count += 1;
        }
    }
    counts
}

fn verdicts(state: &State) -> Result<Vec<VerdictCount>, DataplaneError> {
    let counts = state.dataplane.verdicts()?.into_iter();
    Ok(counts
        .filter_map(|(number, packets)| {
            let (kind, name) = verdict_name(number)?;
            let kind = match kind {
                "drop" => VerdictKind::Drop,
                "pass" => VerdictKind::Pass,
                "note" => VerdictKind::Note,
                _ => VerdictKind::Forward,
            };
            Some(VerdictCount { name: name.to_owned(), kind, packets })
        })
        .collect())
}

/// Counters of every service, over its frontends.
pub fn service_counters(state: &State) -> Result<Counters, DataplaneError> {
    sum_frontends(state, &state.dataplane.observe()?)
}

fn sum_frontends(state: &State, observed: &Observed) -> Result<Counters, DataplaneError> {
    let mut counters = Counters::new();
    for (name, service) in &state.loaded.model.services {
        let mut sum = ServiceCounters::default();
        for frontend in service.frontends() {
            if let Some(value) = value_of(observed, &frontend) {
                sum = sum.plus(state.dataplane.service_counters(value.index)?);
            }
        }
        counters.insert(name.clone(), sum);
    }
    Ok(counters)
}

/// Every service with its counters.
pub fn services(state: &State) -> Result<Vec<ServiceInfo>, DataplaneError> {
    let observed = state.dataplane.observe()?;
    let model = &state.loaded.model;
    let (checked, in_use) = (state.health(), desired::in_use(&observed));
    let known = Known { model, checked: &checked, in_use: &in_use, now: Instant::now() };
    let served = admission::admit(&known).served;
    let counters = sum_frontends(state, &observed)?;
    let mut infos = Vec::new();
    for (name, service) in &model.services {
        let Some(pool) = model.pools.get(&service.pool) else { continue };
        let sum = counters.get(name).copied().unwrap_or_default();
        infos.push(ServiceInfo {
            name: name.clone(),
            protocol: match service.protocol {
                model::Protocol::Tcp => Protocol::Tcp,
                model::Protocol::Udp => Protocol::Udp,
            },
            frontends: service.frontends().map(|frontend| frontend.to_string()).collect(),
            pool: service.pool.clone(),
            mode: match pool.mode {
                model::ForwardMode::Nat => ForwardMode::Nat,
                model::ForwardMode::DsrL2 => ForwardMode::DsrL2,
                model::ForwardMode::DsrIpip => ForwardMode::DsrIpip,
                model::ForwardMode::DsrGue => ForwardMode::DsrGue,
                model::ForwardMode::FullNat => ForwardMode::FullNat,
            },
            backends_up: number(served_own(pool, &service.pool, &served)),
            backends_total: number(pool.own_backends().count()),
            packets: sum.packets,
            bytes: sum.bytes,
            new_connections: sum.new_connections,
            rates: state.rates.of(name),
        });
    }
    Ok(infos)
}

/// Own backends of a pool that take new flows; standbys are no part of it.
fn served_own(pool: &Pool, name: &str, served: &BTreeSet<BackendName>) -> usize {
    pool.own_backends().filter(|backend| served.contains(&BackendName::of(name, backend))).count()
}

/// What a backend's line is made from.
struct Sources {
    observed: Observed,
    indexes: HashMap<u64, u32>,
    slots: HashMap<u32, u32>,
    /// Backends that learning slots had before.
    bases: HashSet<u32>,
    checked: BTreeMap<BackendId, TargetStatus>,
    hops: NextHopTable,
    interfaces: HashMap<u32, String>,
}

/// The backends of one pool, or of all.
pub async fn backends(state: &State, wanted: Option<&str>) -> Result<Vec<BackendInfo>, DataplaneError> {
    let sources = sources(state).await?;
    let mut infos = Vec::new();
    for (pool_name, pool) in &state.loaded.model.pools {
        if wanted.is_none_or(|wanted| wanted == pool_name) {
            for backend in &pool.backends {
                infos.push(backend_info(state, &sources, pool_name, pool, backend)?);
            }
        }
    }
    Ok(infos)
}

async fn sources(state: &State) -> Result<Sources, DataplaneError> {
    let observed = state.dataplane.observe()?;
    let mut slots = HashMap::new();
    let mut bases = HashSet::new();
    for slot in observed.tables.values().flatten() {
        *slots.entry(slot.current()).or_default() += 1;
        bases.extend(slot.has_base().then_some(slot.base()));
    }
    let links = state.netlink.links().await.unwrap_or_default();
    Ok(Sources {
        indexes: observed.backends.iter().map(|(index, (identity, _))| (identity.identity, *index)).collect(),
        observed,
        slots,
        bases,
        checked: state.health(),
        hops: state.hops(),
        interfaces: links.into_iter().map(|link| (link.index, link.name)).collect(),
    })
}

/// One backend in full, `backend` of the pool `pool_name`.
pub async fn backend(
    state: &State,
    pool_name: &str,
    pool: &Pool,
    backend: &Backend,
) -> Result<BackendDetail, DataplaneError> {
    let sources = sources(state).await?;
    let (in_use, now) = (desired::in_use(&sources.observed), Instant::now());
    let known = Known { model: &state.loaded.model, checked: &sources.checked, in_use: &in_use, now };
    let name = BackendName::of(pool_name, backend);
    let id = desired::check_id(pool_name, backend);
    let target = sources.checked.get(&id);
    Ok(BackendDetail {
        backend: backend_info(state, &sources, pool_name, pool, backend)?,
        served: admission::admit(&known).served.contains(&name),
        standby_of: backend.standby_of.as_ref().map(|origin| format!("{}/{}", origin.pool, origin.name)),
        check: checks::info(&state.loaded.model, &id.pool, target),
        results: state.runner.history(&id).iter().map(|result| checks::result(result, now)).collect(),
    })
}

fn backend_info(
    state: &State,
    sources: &Sources,
    pool_name: &str,
    pool: &Pool,
    backend: &Backend,
) -> Result<BackendInfo, DataplaneError> {
    let index = sources.indexes.get(&identity(pool_name, backend).identity).copied();
    let counters = match index {
        Some(index) if sources.observed.backends.contains_key(&index) => {
            state.dataplane.backend_counters(index)?
        }
        _ => lb_common::abi::BackendCounters::default(),
    };
    let slots = index.and_then(|index| sources.slots.get(&index)).copied().unwrap_or(0);
    let flows = index.map_or(0, |index| state.keeper.flows_of(index));
    let settles_in = index.filter(|index| sources.bases.contains(index)).map(|index| {
        let settles_in =
            state.keeper.settles_in(&state.loaded.model, &sources.observed, index, around::now());
        settles_in.unwrap_or_default()
    });
    Ok(BackendInfo {
        pool: pool_name.to_owned(),
        name: backend.name.clone(),
        index: index.unwrap_or(u32::MAX),
        address: backend.address,
        port: backend.port,
        weight: backend.weight,
        admin_state: match backend.state {
            model::AdminState::Active => AdminState::Active,
            model::AdminState::Drain => AdminState::Drain,
            model::AdminState::Maintenance => AdminState::Maintenance,
        },
        health: health_info(state, sources, pool_name, backend),
        slot_share_percent: f64::from(slots) * 100.0 / f64::from(pool.slots.max(1)),
        next_hop: next_hop(sources, backend),
        packets: counters.packets,
        bytes: counters.bytes,
        new_connections: counters.new_connections,
        remembered_flows: flows,
        settles_in_seconds: settles_in.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
        // A count from before the last slot left it says nothing of flows that were recorded since.
        drained: slots == 0
            && flows == 0
            && settles_in.is_none()
            && index.is_none_or(|index| state.keeper.has_counted(index)),
    })
}

fn health_info(state: &State, sources: &Sources, pool: &str, backend: &Backend) -> HealthInfo {
    let health = desired::health_of(&state.loaded.model, pool, backend, &sources.checked);
    let target = sources.checked.get(&desired::check_id(pool, backend)).map(|target| &target.status);
    let since = target.map_or(state.started, |status| status.since);
    let reason = target.and_then(|status| match &status.last_result.as_ref()?.event {
        crate::health::machine::Event::Good(_) => None,
        crate::health::machine::Event::Bad(error) | crate::health::machine::Event::Inconclusive(error) => {
            Some(error.to_string())
        }
    });
    let now = Instant::now();
    let held = target.map_or(Duration::ZERO, |status| status.held_for(now));
    HealthInfo {
        state: match health {
            Health::Up => HealthState::Up,
            Health::Down => HealthState::Down,
            Health::Unknown => HealthState::Unknown,
        },
        since_seconds: now.saturating_duration_since(since).as_secs(),
        reason,
        last_latency_us: target
            .and_then(|status| status.last_latency)
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        detail: target.map(|status| status.findings.to_string()).filter(|detail| !detail.is_empty()),
        held_seconds: held.as_secs() + u64::from(held.subsec_nanos() > 0),
    }
}

fn next_hop(sources: &Sources, backend: &Backend) -> NextHop {
    let hop = match sources.hops.get(&backend.address) {
        Some(Ok(hop)) => hop,
        Some(Err(error)) => return NextHop::Unresolved { error: error.to_string() },
        None => return NextHop::Unresolved { error: "not looked up yet".to_owned() },
    };
    let Some(mac) = hop.destination_mac else {
        let next = hop.gateway.unwrap_or(backend.address);
        return NextHop::Unresolved { error: format!("{next} does not answer ARP or neighbour discovery") };
    };
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let interface =
        sources.interfaces.get(&hop.ifindex).cloned().unwrap_or_else(|| format!("interface {}", hop.ifindex));
    NextHop::Resolved { mac: mac.join(":"), interface }
}

/// An event as the API shows it.
pub fn event(event: events::Event) -> Event {
    let (kind, level) = match event.kind {
        EventKind::Agent => ("agent", EventLevel::Info),
        EventKind::BackendUp => ("backend_up", EventLevel::Info),
        EventKind::BackendChanged => ("backend_changed", EventLevel::Info),
        EventKind::PoolServes => ("pool_serves", EventLevel::Info),
        EventKind::BackendDown => ("backend_down", EventLevel::Warning),
        EventKind::ConfigApplied => ("config_applied", EventLevel::Info),
        EventKind::ConfigRefused => ("config_refused", EventLevel::Warning),
        EventKind::Datapath => ("datapath", EventLevel::Info),
        EventKind::Alarm => ("alarm", EventLevel::Error),
    };
    Event {
        sequence: event.number,
        unix_time_ms: event.time_unix_ms,
        level,
        kind: kind.to_owned(),
        subject: Some(event.subject).filter(|subject| !subject.is_empty()),
        message: event.message,
    }
}
