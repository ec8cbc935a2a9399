//! The object in its largest configuration: the datapath's log at debug, and the limits that the configuration allows.

use super::bed::{Pinned, pin_directory};
use anyhow::{Context as _, ensure};
use lb_common::abi::{
    Backend, BackendCounters, BackendIdentity, FlowKey, FlowValue, ReverseEntry, ServiceCounters,
    ServiceEntry, Slot, place,
};
use lb_userspace::config::bounds::{
    LIMIT_BACKENDS, LIMIT_FLOWS, LIMIT_SERVICES, LIMIT_SESSIONS, LIMIT_SLOTS,
};
use lb_userspace::dataplane::Capacity;
use lb_userspace::dataplane::kernel::{Accepted, KernelConfig, KernelDataplane, LogLevel};
use std::fmt::Write as _;
use std::io::Write as _;

/// Part of the available memory that the maps may take: other tests run at the same time.
const SHARE: u64 = 3;

/// Memory of an entry of a hash map besides key and value, in bytes: the element's header and its bucket, rounded up.
const HASH_ENTRY_BYTES: u64 = 80;

/// Memory of a bucket of a hash map (`struct bucket` of kernel/bpf/hashtab.c), which the kernel takes when it makes the map.
const BUCKET_BYTES: u64 = 16;

/// One a direction.
const ENTRIES_OF_A_SESSION: u64 = 2;

/// Loads every program of the object and prints what the verifier made of it.
pub fn every_program_is_accepted() -> anyhow::Result<()> {
    let available = available_bytes()?;
    let capacity = fitting(available / SHARE, u64::from(possible_cpus()?));
    let bpffs = pin_directory();
    let _pinned = Pinned(bpffs.clone());
    let config = KernelConfig { bpffs, capacity, log_level: LogLevel::Debug };
    let mut dataplane = KernelDataplane::open(&config).with_context(|| format!("with {capacity:?}"))?;
    let programs = dataplane.load_every_program();
    let mut refused = String::new();
    let mut table = format!(
        "\nWith the log at debug and {capacity:?}:\n{}",
        row("program", ["verified", "bytes", "jited"])
    );
    for (name, result) in &programs {
        match result {
            Ok(accepted) => table += &row(name, cells(*accepted).each_ref().map(String::as_str)),
            Err(error) => writeln!(refused, "{name}: {error:?}")?,
        }
    }
    // Past libtest, which keeps what a test that passes prints.
    std::io::stderr().write_all(table.as_bytes())?;
    ensure!(!programs.is_empty(), "the object has no program");
    ensure!(refused.is_empty(), "refused:\n{refused}");
    Ok(())
}

fn cells(accepted: Accepted) -> [String; 3] {
    let number =
        |number: Option<u32>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    [
        number(accepted.verified_instructions),
        number(accepted.translated_bytes),
        accepted.jited_bytes.to_string(),
    ]
}

fn row(name: &str, [verified, bytes, jited]: [&str; 3]) -> String {
    format!("{name:>20} {verified:>10} {bytes:>10} {jited:>10}\n")
}

/// The largest configuration whose maps take no more than `budget_bytes`: as many services and backends as can be, whose
/// numbers the program knows as globals, and half as many slots or flows again and again until the rest fits.
fn fitting(budget_bytes: u64, cpus: u64) -> Capacity {
    let mut capacity = Capacity {
        services: *LIMIT_SERVICES.end(),
        backends: *LIMIT_BACKENDS.end(),
        slots: *LIMIT_SLOTS.end(),
        flows: *LIMIT_FLOWS.end(),
        sessions: *LIMIT_SESSIONS.end(),
    };
    while bytes(capacity, cpus) > budget_bytes {
        let (slots, flows, sessions) = (slot_bytes(capacity), flow_bytes(capacity), session_bytes(capacity));
        if sessions > slots.max(flows) && capacity.sessions > *LIMIT_SESSIONS.start() {
            capacity.sessions /= 2;
        } else if slots > flows && capacity.slots > *LIMIT_SLOTS.start() {
            capacity.slots /= 2;
        } else if capacity.flows > *LIMIT_FLOWS.start() {
            capacity.flows /= 2;
        } else {
            break;
        }
    }
    capacity
}

fn slot_bytes(capacity: Capacity) -> u64 {
    u64::from(capacity.slots) * size_of::<Slot>() as u64
}

fn flow_bytes(capacity: Capacity) -> u64 {
    u64::from(capacity.flows)
        * (size_of::<FlowKey>() as u64 + size_of::<FlowValue>() as u64 + HASH_ENTRY_BYTES)
}

/// Of sessions, which take memory as they come, the buckets alone.
fn session_bytes(capacity: Capacity) -> u64 {
    (u64::from(capacity.sessions) * ENTRIES_OF_A_SESSION).next_power_of_two() * BUCKET_BYTES
}

/// Memory that the maps take, in bytes, about.
fn bytes(capacity: Capacity, cpus: u64) -> u64 {
    let times = |count: u32, bytes: usize| u64::from(count) * bytes as u64;
    times(place::places(capacity.service_keys()), size_of::<ServiceEntry>())
        + times(capacity.services, size_of::<ServiceCounters>()) * cpus
        + times(capacity.backends, size_of::<Backend>() + size_of::<BackendIdentity>())
        + times(capacity.backends, size_of::<BackendCounters>()) * cpus
        + times(place::places(capacity.reverse()), size_of::<ReverseEntry>())
        + slot_bytes(capacity)
        + flow_bytes(capacity)
        + session_bytes(capacity)
}

fn possible_cpus() -> anyhow::Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(call, error)| anyhow::anyhow!("{call}: {error}"))?;
    Ok(u32::try_from(cpus)?)
}

/// Memory that can be had without swapping (`MemAvailable` of `/proc/meminfo`).
fn available_bytes() -> anyhow::Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line.and_then(|rest| rest.trim().strip_suffix(" kB")).context("MemAvailable")?.parse()?;
    Ok(kib * 1_024)
}

#[test]
fn the_largest_configuration_is_the_limits_where_there_is_memory_and_less_where_not() {
    const GIB: u64 = 1 << 30;
    let all = fitting(64 * GIB, 2);
    assert_eq!((all.slots, all.flows), (*LIMIT_SLOTS.end(), *LIMIT_FLOWS.end()));
    let less = fitting(GIB, 2);
    assert_eq!((less.services, less.backends), (*LIMIT_SERVICES.end(), *LIMIT_BACKENDS.end()));
    assert!(less.slots < all.slots && less.flows < all.flows, "{less:?}");
    assert!(bytes(less, 2) <= GIB, "{less:?}");
}
