//! The runner on a paused clock with a stand-in for the network, and once on real sockets.

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::MutexGuard;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio::net::TcpListener;

use super::*;
use crate::health::finding::Answer;
use crate::health::machine::{Event, Streak};
use crate::health::probe::{ProbeError, Stage};
use crate::model::CheckKind;

/// Timers have a granularity of 1 ms, at the start of a probe and at its end.
const TIMER_SLACK: Duration = Duration::from_millis(2);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How the servers of a [`World`] answer.
#[derive(Clone, Copy, Debug)]
enum Manner {
    AfterMs(u64),
    Refuses,
    Hangs,
    NoDescriptor,
}

/// A stand-in for the network: notes who is asked when, and answers in the manner that is set.
#[derive(Default)]
struct World {
    manners: HashMap<SocketAddr, Manner>,
    starts: HashMap<SocketAddr, Vec<Instant>>,
    running: HashMap<SocketAddr, u32>,
    most_running: u32,
    overlaps: u32,
}

type SharedWorld = Arc<Mutex<World>>;

fn lock(world: &SharedWorld) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

/// Counts a probe out when it ends, or is dropped in the middle.
struct RunningProbe(SharedWorld, SocketAddr);

impl Drop for RunningProbe {
    fn drop(&mut self) {
        *lock(&self.0).running.get_mut(&self.1).unwrap() -= 1;
    }
}

async fn ask(world: SharedWorld, address: SocketAddr, timeout: Duration) -> Result<Duration, ProbeError> {
    let manner = {
        let mut world = lock(&world);
        world.starts.entry(address).or_default().push(Instant::now());
        let here = world.running.entry(address).or_default();
        here.add_assign(1);
        let overlap = *here > 1;
        world.overlaps += u32::from(overlap);
        let running = world.running.values().sum();
        world.most_running = world.most_running.max(running);
        world.manners.get(&address).copied().unwrap_or(Manner::AfterMs(1))
    };
    let _running = RunningProbe(Arc::clone(&world), address);
    match manner {
        Manner::AfterMs(after) if ms(after) <= timeout => {
            tokio::time::sleep(ms(after)).await;
            Ok(ms(after))
        }
        Manner::AfterMs(_) | Manner::Hangs => {
            tokio::time::sleep(timeout).await;
            Err(ProbeError::TimedOut { address, stage: Stage::Connect, timeout })
        }
        Manner::Refuses => Err(ProbeError::Refused { address }),
        Manner::NoDescriptor => Err(ProbeError::TooManyOpenFiles { address, detail: "EMFILE".to_owned() }),
    }
}

/// Asks one address of a [`World`].
struct Asker {
    world: SharedWorld,
    address: SocketAddr,
    timeout: Duration,
}

impl Ask for Asker {
    fn ask(&mut self) -> BoxFuture<'_, Result<Answer, ProbeError>> {
        let answer = ask(Arc::clone(&self.world), self.address, self.timeout);
        answer.map_ok(Answer::from).boxed()
    }
}

fn runner_in(world: &SharedWorld, max_probes: usize) -> (Runner, mpsc::Receiver<HealthEvent>) {
    let world = Arc::clone(world);
    let make = move |address, check: Arc<Check>| {
        Box::new(Asker { world: Arc::clone(&world), address, timeout: check.timeout }) as Box<dyn Ask>
    };
    Runner::with_askers(Box::new(make), max_probes)
}

fn new_world() -> SharedWorld {
    Arc::default()
}

fn tcp(interval: Duration, timeout: Duration) -> Check {
    Check { interval, timeout, ..Check::new(CheckKind::Tcp) }
}

fn id(index: u32) -> BackendId {
    BackendId { pool: "web".to_owned(), backend: format!("web-{index}") }
}

fn address(index: u32) -> SocketAddr {
    SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + index).into(), 80)
}

fn target(index: u32, check: &Arc<Check>, initial: Health) -> Target {
    Target { id: id(index), address: address(index), check: Arc::clone(check), initial }
}

fn targets(count: u32, check: &Arc<Check>, initial: Health) -> Vec<Target> {
    (0..count).map(|index| target(index, check, initial)).collect()
}

/// The change of state that an event tells of.
fn turned(event: &HealthEvent) -> (Health, Health) {
    let transition = event.change.transition.as_ref().unwrap();
    (transition.from, transition.to)
}

/// All events that are queued now.
fn queued(events: &mut mpsc::Receiver<HealthEvent>) -> Vec<HealthEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

fn health(runner: &Runner, index: u32) -> Health {
    runner.snapshot()[&id(index)].status.health
}

#[tokio::test(start_paused = true)]
async fn a_thousand_checks_spread_over_the_interval_and_keep_it() {
    let world = new_world();
    let (mut runner, _events) = runner_in(&world, MAX_PROBES);
    let begin = Instant::now();
    runner.update(targets(1_000, &Arc::new(tcp(ms(1_000), ms(500))), Health::Up));
    tokio::time::sleep(ms(5_000)).await;

    let mut tenths = [0_u32; 10];
    for starts in lock(&world).starts.values() {
        assert_eq!(starts.len(), 5);
        tenths[usize::try_from((starts[0] - begin).as_millis() / 100).unwrap()] += 1;
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == ms(1_000)), "{starts:?}");
    }
    assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn death_is_detected_within_interval_times_fall_plus_timeout() {
    const COUNT: u32 = 300;
    for (interval, timeout) in [(ms(1_000), ms(500)), (ms(200), ms(200)), (ms(50), ms(10))] {
        for manner in [Manner::Refuses, Manner::Hangs] {
            let world = new_world();
            let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
            let check = Arc::new(tcp(interval, timeout));
            runner.update(targets(COUNT, &check, Health::Unknown));
            tokio::time::sleep(interval * 2).await;
            assert_eq!(queued(&mut events).len(), COUNT as usize, "all up");

            // One dies after the other, so that every phase between death and probe occurs.
            let mut died = HashMap::new();
            for index in 0..COUNT {
                tokio::time::sleep(interval / 70).await;
                lock(&world).manners.insert(address(index), manner);
                died.insert(id(index), Instant::now().into_std());
            }
            tokio::time::sleep(interval * 5).await;
            let bound = interval * check.fall + timeout + TIMER_SLACK;
            let found = queued(&mut events);
            assert_eq!(found.len(), COUNT as usize);
            for event in found {
                let transition = event.change.transition.unwrap();
                assert_eq!((transition.from, transition.to), (Health::Up, Health::Down));
                let took = transition.at - died[&event.id];
                assert!(took <= bound, "{manner:?}, every {interval:?}: {took:?} is over {bound:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn probes_of_one_target_never_overlap() {
    let world = new_world();
    let (mut runner, _events) = runner_in(&world, MAX_PROBES);
    for index in 0..20 {
        lock(&world).manners.insert(address(index), Manner::Hangs);
    }
    // A timeout longer than the interval is refused by the configuration; here it would pile up if it could.
    runner.update(targets(20, &Arc::new(tcp(ms(100), ms(250))), Health::Up));
    tokio::time::sleep(ms(10_000)).await;
    let world = lock(&world);
    assert_eq!(world.overlaps, 0);
    for starts in world.starts.values() {
        assert!(starts.len() >= 38, "one after the other without a pause: {}", starts.len());
    }
}

#[tokio::test(start_paused = true)]
async fn probes_at_once_are_limited() {
    let world = new_world();
    let (mut runner, _events) = runner_in(&world, 7);
    for index in 0..100 {
        lock(&world).manners.insert(address(index), Manner::Hangs);
    }
    runner.update(targets(100, &Arc::new(tcp(ms(100), ms(100))), Health::Up));
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(runner.load().probes, 7);
    assert_eq!(runner.load().max_probes, 7);
    tokio::time::sleep(ms(9_000)).await;
    let world = lock(&world);
    assert_eq!(world.most_running, 7);
    assert_eq!(world.starts.len(), 100, "nobody starves");
}

#[tokio::test(start_paused = true)]
async fn hysteresis_holds_against_alternating_answers() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    runner.update(targets(1, &Arc::new(tcp(ms(100), ms(50))), Health::Up));
    for turn in 0..100 {
        let manner = if turn % 2 == 0 { Manner::Refuses } else { Manner::AfterMs(1) };
        lock(&world).manners.insert(address(0), manner);
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(queued(&mut events), []);
    let counts = runner.snapshot()[&id(0)].status.counts;
    assert_eq!((counts.good, counts.bad), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn unchanged_targets_keep_state_and_schedule_over_updates() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    let check = tcp(ms(1_000), ms(500));
    runner.update(targets(10, &Arc::new(check.clone()), Health::Unknown));
    for _ in 0..100 {
        tokio::time::sleep(ms(70)).await;
        // An equal check in a new allocation, as a reloaded file gives, and another initial state.
        runner.update(targets(10, &Arc::new(check.clone()), Health::Down));
    }
    assert_eq!(queued(&mut events).len(), 10, "up once");
    for starts in lock(&world).starts.values() {
        assert_eq!(starts.len(), 7);
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == ms(1_000)));
    }
    assert!(runner.snapshot().values().all(|target| target.status.counts.good == 7));
}

#[tokio::test(start_paused = true)]
async fn changed_targets_start_again_with_the_state_they_had() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    lock(&world).manners.insert(address(0), Manner::Refuses);
    runner.update(targets(2, &Arc::new(tcp(ms(100), ms(50))), Health::Unknown));
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!((health(&runner, 0), health(&runner, 1)), (Health::Down, Health::Up));
    queued(&mut events);

    let faster = Arc::new(Check { fall: 1, ..tcp(ms(50), ms(10)) });
    let mut changed = targets(2, &faster, Health::Unknown);
    changed[1].address = address(77);
    lock(&world).manners.insert(address(77), Manner::Refuses);
    runner.update(changed);
    let snapshot = runner.snapshot();
    assert_eq!((health(&runner, 0), health(&runner, 1)), (Health::Down, Health::Up), "as they were");
    assert!(snapshot.values().all(|target| target.status.streak == Streak::None), "no results yet");
    assert_eq!(snapshot[&id(1)].address, address(77));

    let asked_before = lock(&world).starts[&address(1)].len();
    tokio::time::sleep(ms(50)).await;
    assert_eq!(lock(&world).starts[&address(1)].len(), asked_before, "the old address is left alone");
    let found = queued(&mut events);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].id, found[0].address, turned(&found[0])),
        (&id(1), address(77), (Health::Up, Health::Down))
    );
}

#[tokio::test(start_paused = true)]
async fn added_targets_start_and_removed_ones_stop_at_once() {
    let world = new_world();
    let (mut runner, _events) = runner_in(&world, MAX_PROBES);
    let check = Arc::new(tcp(ms(100), ms(100)));
    lock(&world).manners.insert(address(0), Manner::Hangs);
    runner.update(targets(1, &check, Health::Up));
    tokio::time::sleep(ms(150)).await;
    assert_eq!(lock(&world).running[&address(0)], 1, "in the middle of a probe");

    runner.update([target(1, &check, Health::Up)]);
    assert_eq!(runner.snapshot().into_keys().collect::<Vec<_>>(), [id(1)]);
    tokio::time::sleep(ms(1)).await;
    assert_eq!(lock(&world).running[&address(0)], 0, "the probe went with its target");
    let asked = lock(&world).starts[&address(0)].len();
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(lock(&world).starts[&address(0)].len(), asked);
    assert!(lock(&world).starts[&address(1)].len() >= 9);

    runner.update([]);
    assert_eq!((runner.snapshot().len(), runner.load().groups), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn equal_questions_are_asked_once_and_answered_to_all() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    let check = tcp(ms(100), ms(50));
    let pools = ["blue", "green", "red"];
    let all: Vec<Target> = pools
        .iter()
        .map(|pool| Target {
            id: BackendId { pool: (*pool).to_owned(), backend: "web-1".to_owned() },
            address: address(1),
            check: Arc::new(check.clone()),
            initial: Health::Up,
        })
        .collect();
    runner.update(all.clone());
    assert_eq!(runner.load().groups, 1);
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(lock(&world).starts[&address(1)].len(), 10);

    // The one that the schedule came from leaves; the others stay as they were.
    runner.update(all[1..].to_vec());
    lock(&world).manners.insert(address(1), Manner::Refuses);
    tokio::time::sleep(ms(500)).await;
    let down: BTreeSet<String> = queued(&mut events).into_iter().map(|event| event.id.pool).collect();
    assert_eq!(down, BTreeSet::from(["green".to_owned(), "red".to_owned()]));
    assert_eq!(lock(&world).starts[&address(1)].len(), 15);
}

#[tokio::test(start_paused = true)]
async fn different_questions_to_one_address_are_asked_apart() {
    let world = new_world();
    let (mut runner, _events) = runner_in(&world, MAX_PROBES);
    let slow = Arc::new(tcp(ms(1_000), ms(50)));
    let fast = Arc::new(tcp(ms(100), ms(50)));
    let other_port = Arc::new(Check { port: Some(8080), ..tcp(ms(100), ms(50)) });
    let at_one_address = |index, check| Target { address: address(0), ..target(index, check, Health::Up) };
    runner.update([at_one_address(0, &slow), at_one_address(1, &fast), at_one_address(2, &other_port)]);
    assert_eq!(runner.load().groups, 3);
    tokio::time::sleep(ms(1_000)).await;
    let admin = SocketAddr::new(address(0).ip(), 8080);
    assert_eq!(runner.snapshot()[&id(2)].address, admin);
    assert_eq!(lock(&world).starts[&address(0)].len(), 11);
    assert_eq!(lock(&world).starts[&admin].len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_descriptors_takes_nothing_down() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    lock(&world).manners.insert(address(0), Manner::NoDescriptor);
    runner.update(targets(1, &Arc::new(tcp(ms(100), ms(50))), Health::Up));
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(queued(&mut events), []);
    let status = runner.snapshot()[&id(0)].status.clone();
    assert_eq!((status.health, status.counts.inconclusive), (Health::Up, 20));
    assert!(matches!(status.last_result.unwrap().event, Event::Inconclusive(_)));
}

#[tokio::test(start_paused = true)]
async fn a_full_event_queue_loses_no_transition() {
    let count = u32::try_from(MAX_QUEUED_EVENTS).unwrap() * 3;
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    runner.update(targets(count, &Arc::new(tcp(ms(1_000), ms(50))), Health::Unknown));
    tokio::time::sleep(ms(3_000)).await;
    let load = runner.load();
    assert_eq!((load.queued_events, load.max_queued_events), (MAX_QUEUED_EVENTS, MAX_QUEUED_EVENTS));
    let mut seen = BTreeSet::new();
    while let Ok(event) = tokio::time::timeout(ms(1_000), events.recv()).await {
        let event = event.unwrap();
        assert_eq!(turned(&event).1, Health::Up);
        assert!(seen.insert(event.id), "each once");
    }
    assert_eq!(seen.len(), count as usize);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_runner_ends_its_tasks() {
    let world = new_world();
    let (mut runner, mut events) = runner_in(&world, MAX_PROBES);
    for index in 0..25 {
        lock(&world).manners.insert(address(index), Manner::Hangs);
    }
    runner.update(targets(50, &Arc::new(tcp(ms(100), ms(100))), Health::Up));
    tokio::time::sleep(ms(150)).await;
    assert!(lock(&world).running.values().sum::<u32>() > 0);
    drop(runner);
    assert_eq!(events.recv().await, None, "every task has let go of its sender");
    assert_eq!(lock(&world).running.values().sum::<u32>(), 0);
    assert_eq!(Arc::strong_count(&world), 1);
}

#[tokio::test]
async fn a_real_server_goes_up_and_down() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut runner, mut events) = Runner::new();
    let check = Arc::new(tcp(ms(100), ms(100)));
    runner.update([Target {
        id: id(0),
        address: listener.local_addr().unwrap(),
        check,
        initial: Health::Unknown,
    }]);
    let up = events.recv().await.unwrap();
    assert_eq!(turned(&up), (Health::Unknown, Health::Up));
    drop(listener);
    let down = events.recv().await.unwrap();
    assert_eq!(turned(&down), (Health::Up, Health::Down));
    assert!(matches!(down.last_result.event, Event::Bad(ProbeError::Refused { .. })), "{down:?}");
}
