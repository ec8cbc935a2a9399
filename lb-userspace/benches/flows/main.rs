//! What looking after a full flow table costs the agent: `cargo xtask bench flows [--json]`.
//!
//! A million flows are put into the kernel's map; then they are counted, as the agent does while slots change hands, and
//! forgotten, as it does when their slots are stable again.

use anyhow::{Context as _, ensure};
use aya::maps::{HashMap, Map, MapData};
use lb_common::abi::{ABI_VERSION, FlowKey, FlowState, FlowValue, Phase, Slot, address, names};
use lb_userspace::dataplane::kernel::{KernelConfig, KernelDataplane, LogLevel, remove};
use lb_userspace::dataplane::{Capacity, Dataplane as _, Op};
use lb_userspace::model::Model;
use lb_userspace::phases::take_census;
use rustix::time::{ClockId, clock_gettime};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flows in the table.
const FLOWS: u32 = 1_000_000;
/// Counts; the median is reported.
const ROUNDS: usize = 9;
/// Room in the maps.
const CAPACITY: Capacity =
    Capacity { services: 64, backends: 1_024, slots: 65_536, flows: 1 << 21, sessions: 64 };
/// The site: one service, ten backends.
const SITE: &str = r#"
    [node]
    interfaces = ["lo"]
    vips = "external"
    [pools.web]
    mode = "dsr-l2"
    backends = [
        { name = "a", address = "10.0.0.1" },
        { name = "b", address = "10.0.0.2" },
    ]
    [services.web]
    vips = ["203.0.113.10"]
    ports = [80]
    protocol = "tcp"
    pool = "web"
"#;

/// Removes what was pinned.
struct Pinned(PathBuf);

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

/// CPU time of this thread, in milliseconds.
fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
        .as_secs_f64()
        * 1e3
}

/// Fills the flow table as packets would.
fn remember(bpffs: &Path, now_s: u32) -> anyhow::Result<()> {
    let pin = bpffs.join(format!("v{ABI_VERSION}")).join(names::FLOWS);
    let mut flows: HashMap<MapData, [u64; 5], [u64; 1]> =
        Map::LruHashMap(MapData::from_pin(pin)?).try_into()?;
    for number in 0..FLOWS {
        let [_, second, third, fourth] = number.to_be_bytes();
        let key = FlowKey {
            source: address(IpAddr::from([10, 100 + second, third, fourth])),
            destination: address(IpAddr::from([203, 0, 113, 10])),
            source_port: 40_000_u16.to_be(),
            destination_port: 80_u16.to_be(),
            protocol: 6,
        };
        let value = FlowValue::new(number % 2, FlowState::Established, now_s);
        flows.insert(
            bytemuck::cast::<FlowKey, [u64; 5]>(key),
            bytemuck::cast::<FlowValue, [u64; 1]>(value),
            0,
        )?;
    }
    Ok(())
}

/// Backends, a tracked table, the service.
fn fill(dataplane: &mut KernelDataplane, model: &Model) -> anyhow::Result<()> {
    let hop = lb_userspace::reconcile::Hop {
        ifindex: 1,
        source_mac: [2; 6],
        destination_mac: Some([4; 6]),
        mtu_bytes: 1_500,
        preferred_source: None,
        gateway: false,
    };
    let (pool_name, pool) = model.pools.first_key_value().context("the site has a pool")?;
    let names = pool.backends.iter().map(|backend| lb_userspace::reconcile::BackendName {
        pool: pool_name.clone(),
        name: backend.name.clone(),
    });
    let desired = lb_userspace::reconcile::Desired {
        model,
        healthy: &names.collect(),
        hops: &pool.backends.iter().map(|backend| (backend.address, Some(hop))).collect(),
        devices: &std::collections::BTreeSet::default(),
        links: &std::collections::BTreeMap::default(),
        shares: &std::collections::BTreeMap::default(),
        dead: &std::collections::BTreeSet::default(),
        given_up: &std::collections::BTreeSet::default(),
        flows_of: None,
        kept_sources: &std::collections::BTreeSet::new(),
    };
    let plan = lb_userspace::reconcile::Reconciler::default().plan(&desired, &dataplane.observe()?)?;
    for op in &plan.ops {
        dataplane.apply(op)?;
    }
    put_phase(dataplane, Phase::Learning)
}

fn put_phase(dataplane: &mut KernelDataplane, phase: Phase) -> anyhow::Result<()> {
    for (region, slots) in dataplane.observe()?.tables {
        let slots = slots.iter().map(|slot| Slot::new(slot.current(), 0, phase)).collect();
        dataplane.apply(&Op::WriteSlots { offset: region.offset, slots })?;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let bpffs = PathBuf::from(format!("/sys/fs/bpf/lb-bench-flows-{}", std::process::id()));
    let _pinned = Pinned(bpffs.clone());
    let config = KernelConfig { bpffs: bpffs.clone(), capacity: CAPACITY, log_level: LogLevel::Off };
    let mut dataplane = KernelDataplane::open(&config)?;
    let parsed = lb_userspace::config::parse(SITE, Path::new("bench.toml"));
    let model = parsed.map_err(|errors| anyhow::anyhow!("{errors}"))?.model;
    fill(&mut dataplane, &model)?;
    let now_s = 1_000_u32;
    remember(&bpffs, now_s)?;
    let observed = dataplane.observe()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = cpu_ms();
        let census = take_census(&mut dataplane, &model, &observed, u64::from(now_s) * 1_000)?;
        times.push(cpu_ms() - began);
        ensure!(census.entries == u64::from(FLOWS) && census.over == 0, "{} flows", census.entries);
    }
    times.sort_by(f64::total_cmp);
    let count_ms = times.get(ROUNDS / 2).copied().unwrap_or_default();
    put_phase(&mut dataplane, Phase::Stable)?;
    let observed = dataplane.observe()?;
    let began = cpu_ms();
    let census = take_census(&mut dataplane, &model, &observed, u64::from(now_s) * 1_000)?;
    let forget_ms = cpu_ms() - began;
    ensure!(census.over == u64::from(FLOWS), "{} of {FLOWS} flows are over", census.over);
    let left = take_census(&mut dataplane, &model, &observed, 0)?.entries;
    ensure!(left == 0, "{left} flows are left");
    if json {
        println!(r#"{{"flows":{FLOWS},"count_ms":{count_ms:.1},"forget_ms":{forget_ms:.1}}}"#);
    } else {
        println!(
            "{FLOWS} flows: counted in {count_ms:.0} ms, counted and forgotten in {forget_ms:.0} ms of CPU time"
        );
    }
    Ok(())
}
