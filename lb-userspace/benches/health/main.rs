//! What checking many backends costs the agent: `cargo xtask bench health [--json]`.
//!
//! 5,000 targets, each with an address of its own, are checked once a second by the agent's own runner, against a server in a
//! process of its own. Told are the CPU time of the checking process, in percent of one core and with what the kernel does
//! for it, and how late checks started.

mod server;

use anyhow::{Context as _, ensure};
use lb_userspace::health::{BackendId, Health, Punctuality, Runner, Target};
use lb_userspace::model::{Check, CheckKind, HttpCheck};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Targets.
const TARGETS: u32 = 5_000;
/// Time in which every target is asked a few times before the measurement.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time of the measurement.
const MEASURED: Duration = Duration::from_secs(10);
/// Open files that the process may need: a socket for each probe.
const OPEN_FILES: u64 = 65_536;

/// What was found of one kind of check.
struct Found {
    kind: &'static str,
    checks_per_second: f64,
    cpu_percent: f64,
    late: u64,
    worst: Duration,
    up: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    raise_open_files();
    if arguments.iter().any(|argument| argument == server::ARGUMENT) {
        return server::serve();
    }
    let json = arguments.iter().any(|argument| argument == "--json");
    let server = server::Child::start()?;
    let http = HttpCheck { path: "/healthz".to_owned(), ..HttpCheck::default() };
    let kinds = [("tcp", CheckKind::Tcp), ("http", CheckKind::Http(http))];
    let mut found = Vec::new();
    for (name, kind) in kinds {
        found.push(measure(name, kind, server.port)?);
    }
    if json {
        print_json(&found);
    } else {
        print_table(&found);
    }
    for found in &found {
        ensure!(found.up == TARGETS as usize, "{}: {} of {TARGETS} targets are up", found.kind, found.up);
    }
    Ok(())
}

fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    // With fewer the runner asks fewer at once, and says so by being late.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
}

/// CPU time of this process, its kernel part included.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn measure(name: &'static str, kind: CheckKind, port: u16) -> anyhow::Result<Found> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut runner, mut events) = Runner::new();
        let drained = tokio::spawn(async move { while events.recv().await.is_some() {} });
        runner.update(targets(&Check::new(kind), port));
        tokio::time::sleep(WARM_UP).await;
        let (before, cpu_before, began) = (runner.punctuality(), cpu(), Instant::now());
        tokio::time::sleep(MEASURED).await;
        let (after, used, elapsed) =
            (runner.punctuality(), cpu().saturating_sub(cpu_before), began.elapsed());
        let up = runner.snapshot().values().filter(|target| target.status.health == Health::Up).count();
        drop(runner);
        drained.await.context("reading the events")?;
        Ok(found(name, &before, &after, used, elapsed, up))
    })
}

fn found(
    kind: &'static str,
    before: &Punctuality,
    after: &Punctuality,
    used: Duration,
    elapsed: Duration,
    up: usize,
) -> Found {
    #[expect(clippy::cast_precision_loss, reason = "a count of checks in ten seconds")]
    let checks = (after.started - before.started) as f64;
    Found {
        kind,
        checks_per_second: checks / elapsed.as_secs_f64(),
        cpu_percent: used.as_secs_f64() * 100.0 / elapsed.as_secs_f64(),
        late: after.late - before.late,
        worst: after.worst,
        up,
    }
}

/// A target for each of many addresses of the loopback network.
fn targets(check: &Check, port: u16) -> Vec<Target> {
    let check = Arc::new(check.clone());
    let target = |number: u32| {
        let [_, second, third, fourth] = (number + 1).to_be_bytes();
        let address = IpAddr::from([127, second + 1, third, fourth]);
        Target {
            id: BackendId { pool: "bench".to_owned(), backend: number.to_string() },
            address: SocketAddr::new(address, port),
            check: Arc::clone(&check),
            initial: Health::Unknown,
        }
    };
    (0..TARGETS).map(target).collect()
}

fn print_table(found: &[Found]) {
    println!("{TARGETS} targets, each checked once a second, for {} s", MEASURED.as_secs());
    println!("KIND  CHECKS/s  CPU of one core  LATE (> 10 %)  WORST");
    for found in found {
        println!(
            "{:<4}  {:>8.0}  {:>13.1} %  {:>13}  {:?}",
            found.kind, found.checks_per_second, found.cpu_percent, found.late, found.worst
        );
    }
}

fn print_json(found: &[Found]) {
    let all: Vec<_> = found
        .iter()
        .map(|found| {
            serde_json::json!({
                "kind": found.kind,
                "targets": TARGETS,
                "checks_per_second": found.checks_per_second,
                "cpu_percent": found.cpu_percent,
                "late": found.late,
                "worst_late_us": u64::try_from(found.worst.as_micros()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    println!("{}", serde_json::Value::from(all));
}
