//! Starting, running, ending and removing.

use super::notices::{self, Troubles};
use super::ports::{self, Links};
use super::rates::RateMeter;
use super::state::{Loaded, State};
use super::{Agent, AgentError, attach, desired, privileges, report, tend, vips};
use crate::api::lock::AgentLock;
use crate::api::server::{Server, ServerLimits};
use crate::config::{self, Parsed};
use crate::dataplane::kernel::{self, KernelConfig, KernelDataplane, LogLevel};
use crate::dataplane::{Capacity, Dataplane as _, Observed};
use crate::health::{Health, HealthEvent, Runner};
use crate::keeper::Keeper;
use crate::model::DatapathLog;
use crate::netlink::{Netlink, Resolver, ResolverOptions};
use crate::telemetry::events::{EventKind, EventLog};
use lb_common::abi::BackendFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// Attachments and VIPs are compared with the configuration this often even when nothing seems to have changed.
const RESYNC_INTERVAL: Duration = Duration::from_secs(10);
/// Health events that are taken at once before the maps are brought up to date.
const MAX_EVENTS_AT_ONCE: usize = 256;
/// Time that next hops get to be known before the first packet is sent, so that it need not ask the FIB.
const FIRST_RESOLUTION: Duration = Duration::from_millis(500);

/// What `lbd run` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Start even if the configuration has no services.
    pub force: bool,
}

/// Checks a configuration file. Returns the warnings, ready to print.
///
/// # Errors
/// [`AgentError::Config`].
pub fn check(path: &Path, color: bool) -> Result<String, AgentError> {
    let (parsed, _) = config::load(path)?;
    Ok(parsed.warnings.render(color))
}

/// Runs the agent until it is told to stop; the datapath goes on without it.
///
/// # Errors
/// When it cannot start.
pub async fn run(options: Options) -> Result<(), AgentError> {
    let (parsed, text) = config::load(&options.config)?;
    privileges::check()?;
    let lock = AgentLock::acquire(&parsed.model.node.control_socket)?;
    if parsed.model.serves_nothing() && !options.force {
        return Err(AgentError::ServesNothing { path: options.config });
    }
    privileges::raise_file_limit();
    let server = Server::bind(&parsed.model.node.control_socket, &lock, ServerLimits::default()).await?;
    let (agent, health_events) = start(options.config, parsed, text).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.run(Arc::new(agent.clone()), async {
        let _ = stopped.await;
    }));
    tracing::info!("lbd ready");
    notify(&[sd_notify::NotifyState::Ready]);
    let result = main_loop(&agent, health_events).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("lbd stops; the datapath stays attached and forwards (take it away with `lbd remove`)");
    let _ = stop.send(());
    if let Ok(Err(error)) = served.await {
        tracing::error!("the control socket failed: {error}");
    }
    result
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// Loads or adopts the datapath and makes it true to the configuration.
async fn start(
    path: PathBuf,
    parsed: Parsed,
    text: String,
) -> Result<(Agent, mpsc::Receiver<HealthEvent>), AgentError> {
    let model = parsed.model;
    let netlink = Netlink::open()?;
    let linked = kernel::Pins::new(&model.node.bpffs).linked_interfaces()?;
    attach::preflight(&netlink, &model.node, &linked).await?;
    let limits = model.node.limits;
    let mut dataplane = KernelDataplane::open(&KernelConfig {
        bpffs: model.node.bpffs.clone(),
        capacity: Capacity {
            services: limits.services,
            backends: limits.backends,
            slots: limits.slots,
            flows: limits.flows,
            sessions: limits.sessions,
        },
        log_level: log_level(model.node.datapath_log),
    })?;
    if let Some(point) = &dataplane.mounted {
        tracing::info!("mounted a bpffs on {}", point.display());
    }
    if let Err(error) = dataplane.read_log() {
        tracing::warn!("{error}");
    }
    let observed = dataplane.observe()?;
    let former_health = former_health(&observed);
    let resolver =
        Resolver::spawn(ResolverOptions { follow_default_gateways: true, follow_tunnel_path_mtu: true })?;
    resolver.update(desired::destinations(&model, &observed))?;
    wait_for_next_hops(&resolver, &desired::destinations(&model, &observed)).await;
    let (mut runner, health_events) = Runner::new();
    runner.update(desired::targets(&model, &former_health));
    let events = Arc::new(EventLog::new());
    let warnings = parsed.warnings.entries().map(|entry| entry.message).collect();
    let mut state = State {
        path,
        loaded: Loaded { text, model, warnings, generation: 1, at: SystemTime::now() },
        dataplane,
        keeper: Keeper::default(),
        rates: RateMeter::default(),
        runner,
        resolver,
        netlink,
        interfaces: Vec::new(),
        concerned: Vec::new(),
        troubles: Troubles::default(),
        notices: Vec::new(),
        verdicts: BTreeMap::new(),
        started: Instant::now(),
        events: events.clone(),
    };
    if let Err(error) = serve(&mut state).await {
        discard_new(state);
        return Err(error);
    }
    Ok((Agent { state: Arc::new(Mutex::new(state)), events }, health_events))
}

/// The program's level for a setting.
const fn log_level(setting: DatapathLog) -> LogLevel {
    match setting {
        DatapathLog::Off => LogLevel::Off,
        DatapathLog::Warn => LogLevel::Warn,
        DatapathLog::Info => LogLevel::Info,
        DatapathLog::Debug => LogLevel::Debug,
    }
}

/// Brings maps, interfaces and VIPs into the state that the configuration asks for, in an order in which no packet
/// meets half of it: maps before the program, the program before the VIPs.
async fn serve(state: &mut State) -> Result<(), AgentError> {
    let model = state.loaded.model.clone();
    let adopted = state.dataplane.adopted;
    if adopted {
        tracing::info!("maps of an earlier lbd taken over");
    }
    tokio::task::block_in_place(|| state.reconcile_to(&model))?;
    let links = read_links(&state.netlink).await?;
    notices::enable_forwarding(state, &model, &links);
    state.interfaces = attach::attach_all(&mut state.dataplane, &state.netlink, &model.node, &[]).await?;
    for name in state.dataplane.linked_interfaces()? {
        if !model.node.interfaces.contains(&name) {
            state.dataplane.detach(&name)?;
            tracing::info!("{name}: program taken off, no longer among node.interfaces");
        }
    }
    state.dataplane.retire_former()?;
    tokio::task::block_in_place(|| state.reconcile_to(&model))?;
    state.troubles.vips = vips::assign(&state.netlink, &model, &state.kept_sources()).await;
    notices::renew(state, &model.node, &links);
    let names: Vec<&str> = state.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let how = if adopted { "taken over" } else { "new" };
    state.event(EventKind::Datapath, &names.join(", "), &format!("attached; maps are {how}"));
    Ok(())
}

/// Every interface, asked now.
async fn read_links(netlink: &Netlink) -> Result<Links, AgentError> {
    Ok(netlink.links().await?.into_iter().map(|link| (link.index, link)).collect())
}

/// Takes away what a start that failed has made: its programs where no interface has them, and the maps unless they were
/// there before.
fn discard_new(state: State) {
    let bpffs = state.loaded.model.node.bpffs.clone();
    let adopted = state.dataplane.adopted;
    // Lets go of the pins' lock.
    drop(state);
    let removed = if adopted { kernel::retire_unused(&bpffs) } else { kernel::remove(&bpffs).map(drop) };
    if let Err(error) = removed {
        tracing::error!("cannot remove what was made under {} again: {error}", bpffs.display());
    }
}

/// What an agent before knew of the backends: who had slots was up; who was in use without any was down.
fn former_health(observed: &Observed) -> BTreeMap<u64, Health> {
    let in_use = desired::in_use(observed);
    let known = observed.backends.values().filter(|(_, entry)| entry.flags & BackendFlags::VALID != 0);
    let health = |identity| if in_use.contains(&identity) { Health::Up } else { Health::Down };
    known.map(|(identity, _)| (identity.identity, health(identity.identity))).collect()
}

/// Waits a little until every backend's next hop is known or known to be missing.
async fn wait_for_next_hops(resolver: &Resolver, wanted: &BTreeSet<IpAddr>) {
    let mut table = resolver.table();
    let known = table.wait_for(|table| {
        let settled = |address| {
            table.get(address).is_some_and(|hop| {
                hop.as_ref().is_ok_and(|hop| hop.destination_mac.is_some()) || hop.is_err()
            })
        };
        wanted.iter().all(settled)
    });
    if tokio::time::timeout(FIRST_RESOLUTION, known).await.is_err() {
        tracing::info!("some next hops are not known yet; they will be followed");
    }
}

async fn main_loop(agent: &Agent, mut health_events: mpsc::Receiver<HealthEvent>) -> Result<(), AgentError> {
    let failed = |source| AgentError::System { what: "installing signal handlers", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let mut hops = agent.state.lock().await.resolver.table();
    let mut links = agent.state.lock().await.resolver.links();
    let mut timer = tokio::time::interval(RESYNC_INTERVAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Vec::new();
    let mut tending = tend::Tending::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(agent).await,
            count = health_events.recv_many(&mut batch, MAX_EVENTS_AT_ONCE) => {
                if count > 0 {
                    on_health(agent, batch.drain(..)).await;
                }
            }
            Ok(()) = hops.changed() => agent.state.lock().await.reconcile("next hops"),
            Ok(()) = links.changed() => {
                let links = links.borrow_and_update().clone();
                on_links(agent, &links).await;
            }
            () = tokio::time::sleep_until(tending.next()) => tending.look(agent).await,
            _ = timer.tick() => resync(agent).await,
        }
    }
}

/// An interface came, went or changed. What is attached and assigned is looked at only where that concerns the node's own
/// interfaces: a host of containers has new ones all the time.
async fn on_links(agent: &Agent, links: &Links) {
    let mut state = agent.state.lock().await;
    let model = state.loaded.model.clone();
    let concerned: Vec<_> = ports::forwarding(&model.node, links).into_iter().cloned().collect();
    if concerned == state.concerned {
        return;
    }
    state.concerned = concerned;
    state.reconcile("interfaces");
    notices::enable_forwarding(&mut state, &model, links);
    drop(state);
    resync(agent).await;
}

async fn reload(agent: &Agent) {
    match agent.reload_file().await {
        Ok(result) => tracing::info!("SIGHUP: generation {} is in force", result.generation),
        Err(error) => tracing::error!("SIGHUP: {error}"),
    }
}

/// The timer: attachments and VIPs, in case somebody else changed them; `tend` does the same for the maps.
async fn resync(agent: &Agent) {
    let mut state = agent.state.lock().await;
    state.troubles.attaching = attach::mend(&mut state).await;
    match report::service_counters(&state) {
        Ok(counters) => state.rates.look(Instant::now(), counters),
        Err(error) => tracing::warn!("no rates: {error}"),
    }
    let model = state.loaded.model.clone();
    // Under the lock: by the VIPs of a configuration that is replaced meanwhile, those that it has just added would go.
    state.troubles.vips = vips::assign(&state.netlink, &model, &state.kept_sources()).await;
    let links = state.links();
    if !state.troubles.forwarding.is_empty() {
        notices::enable_forwarding(&mut state, &model, &links);
    }
    for notice in notices::renew(&mut state, &model.node, &links) {
        state.event(EventKind::Alarm, "node", &notice);
    }
}

async fn on_health(agent: &Agent, events: impl Iterator<Item = HealthEvent>) {
    let mut state = agent.state.lock().await;
    for event in events {
        let subject = format!("{}/{}", event.id.pool, event.id.backend);
        let Some(transition) = &event.change.transition else {
            if let Some(became) = event.change.became.as_ref().filter(|became| became.is_news) {
                tracing::info!("{subject}: {}", became.says);
                state.event(EventKind::BackendChanged, &subject, &became.says);
            }
            continue;
        };
        // A change of both is told by the transition, whose reason is the answer.
        let lasted = humantime::format_duration(Duration::from_secs(transition.lasted.as_secs()));
        let message = format!("{} after {lasted} {}: {}", transition.to, transition.from, transition.reason);
        let kind = if transition.to == Health::Up { EventKind::BackendUp } else { EventKind::BackendDown };
        tracing::info!("{subject} is {message}");
        state.event(kind, &subject, &message);
    }
    state.reconcile("health");
}

/// Takes the datapath away: links, maps, and the VIPs that the agent put on the node.
///
/// # Errors
/// When an agent is running, or something cannot be removed.
pub async fn remove(config: &Path) -> Result<Vec<String>, AgentError> {
    let (parsed, _) = config::load(config)?;
    privileges::check()?;
    let node = &parsed.model.node;
    let _lock = AgentLock::acquire(&node.control_socket)?;
    let netlink = Netlink::open()?;
    let mut done = Vec::new();
    // VIPs first: clients go elsewhere, or are told so, before packets fall to the stack.
    for link in netlink.links().await? {
        for vip in vips::withdraw(&netlink, link.index, &BTreeSet::new()).await? {
            done.push(format!("VIP {vip} removed from {}", link.name));
        }
    }
    for (address, bits) in vips::release_networks(&netlink).await? {
        done.push(format!("route that let {address}/{bits} end here removed"));
    }
    for interface in kernel::remove(&node.bpffs)? {
        done.push(format!("program removed from {interface}"));
    }
    done.push(format!("maps under {} removed", node.bpffs.display()));
    Ok(done)
}
