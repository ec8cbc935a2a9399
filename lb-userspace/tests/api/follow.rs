//! Waiting for events: the route, and `lbctl events --follow` as a user runs it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use lb_userspace::api::client::ClientError;
use lb_userspace::api::control::Seen;
use lb_userspace::api::error::ErrorCode;
use lb_userspace::api::server::ServerLimits;
use lb_userspace::api::types::Event;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::fake::{PATIENCE, Running};

/// For waits that are meant to come to their end.
const SHORT: Duration = Duration::from_millis(50);

fn seen(number: u64) -> Seen {
    Seen { number, unix_time_ms: None }
}

fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

#[tokio::test]
async fn events_after_a_number_come_at_once_and_none_after_the_wait() {
    let running = Running::start().await;
    let client = running.client();
    for message in ["one", "two", "three"] {
        running.fake.happen(message);
    }
    assert_eq!(numbers(&client.events_after(seen(1), PATIENCE).await.unwrap()), [2, 3]);
    let last = client.events(1).await.unwrap().remove(0);
    let exactly = Seen { number: last.sequence, unix_time_ms: Some(last.unix_time_ms) };
    assert_eq!(client.events_after(exactly, Duration::ZERO).await.unwrap(), []);
    let start = Instant::now();
    assert_eq!(client.events_after(exactly, SHORT).await.unwrap(), []);
    assert!(start.elapsed() >= SHORT);
    // Another life of the agent: its number is less, or the number is there and happened at another time.
    assert_eq!(numbers(&client.events_after(seen(9), PATIENCE).await.unwrap()), [1, 2, 3]);
    let other = Seen { number: 3, unix_time_ms: Some(1) };
    assert_eq!(numbers(&client.events_after(other, PATIENCE).await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn one_who_waits_is_told_as_soon_as_something_happens() {
    let running = Running::start().await;
    let client = running.client();
    let waiting = tokio::spawn(async move { client.events_after(seen(0), PATIENCE).await });
    tokio::time::sleep(SHORT).await;
    assert!(!waiting.is_finished());
    running.fake.happen("something");
    assert_eq!(waiting.await.unwrap().unwrap()[0].message, "something");
}

#[tokio::test]
async fn a_wait_ends_before_the_time_of_a_call_does() {
    let limits = ServerLimits { call_time: SHORT * 4, ..ServerLimits::default() };
    let running = Running::start_with(limits).await;
    assert_eq!(running.client().events_after(seen(0), PATIENCE).await.unwrap(), []);
}

#[tokio::test]
async fn those_who_wait_leave_room_for_others() {
    let running = Running::start_with(ServerLimits { waits: 1, ..ServerLimits::default() }).await;
    let client = running.client();
    // Asks again until it is given something: the one below may have taken the room from it.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move {
            loop {
                match client.events_after(seen(0), PATIENCE).await {
                    Ok(events) if !events.is_empty() => break events,
                    Ok(_) | Err(ClientError::Refused(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
    let refused = loop {
        match client.events_after(seen(0), Duration::ZERO).await {
            Ok(events) => assert_eq!(events, []),
            Err(ClientError::Refused(error)) => break error,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refused.code, ErrorCode::Unavailable);
    client.status().await.unwrap();
    running.fake.happen("something");
    assert_eq!(in_time(waiting).await.unwrap()[0].message, "something");
}

#[tokio::test]
async fn a_server_that_stops_waits_for_nobody_who_waits() {
    let limits = ServerLimits { stop_time: PATIENCE, ..ServerLimits::default() };
    let mut running = Running::start_with(limits).await;
    let client = running.client();
    let waiting = tokio::spawn(async move { client.events_after(seen(0), PATIENCE).await });
    tokio::time::sleep(SHORT).await;
    let start = Instant::now();
    running.stop().await;
    assert!(start.elapsed() < Duration::from_secs(4), "half of the time of a call is 5 s");
    assert_eq!(waiting.await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_waited_for_is_refused() {
    let running = Running::start().await;
    for (query, message) in [
        ("after=1&wait_ms=30001", "wait_ms is 30001; it must be 0 to 30000"),
        ("wait_ms=1", "after_unix_ms and wait_ms have no meaning without after"),
        ("after_unix_ms=1", "after_unix_ms and wait_ms have no meaning without after"),
        ("after=1&limit=0", "limit is 0; it must be 1 to 10000"),
    ] {
        let request = format!("GET /v1/events?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        let (status, error) = running.raw(request.as_bytes()).await;
        assert_eq!((status, error.message.as_str()), (400, message));
    }
}

/// A running `lbctl events --follow`.
struct Follower {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

impl Follower {
    fn start(running: &Running, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
        command.arg("--socket").arg(&running.socket).args(["events", "--follow"]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, stdout, stderr }
    }

    async fn line(&mut self) -> String {
        in_time(self.stdout.next_line()).await.unwrap().unwrap()
    }

    async fn warning(&mut self) -> String {
        in_time(self.stderr.next_line()).await.unwrap().unwrap()
    }

    async fn event(&mut self) -> (u64, String) {
        let event: Event = serde_json::from_str(&self.line().await).unwrap();
        (event.sequence, event.message)
    }

    async fn interrupt(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut rest = String::new();
        in_time(self.stdout.into_inner().read_to_string(&mut rest)).await.unwrap();
        (in_time(self.child.wait()).await.unwrap().code(), rest)
    }
}

#[tokio::test]
async fn the_last_events_come_first_then_new_ones_until_an_interrupt() {
    let running = Running::start().await;
    for message in ["one", "two", "three"] {
        running.fake.happen(message);
    }
    let mut follower = Follower::start(&running, &["--limit", "2"]);
    assert!(follower.line().await.starts_with("TIME  "));
    assert!(follower.line().await.ends_with("  two"));
    assert!(follower.line().await.ends_with("  three"));
    running.fake.happen("four");
    assert!(follower.line().await.ends_with("  four"));
    assert_eq!(follower.interrupt().await, (Some(0), String::new()));
}

#[tokio::test]
async fn in_json_each_event_is_a_line() {
    let running = Running::start().await;
    running.fake.happen("one");
    let mut follower = Follower::start(&running, &["-o", "json"]);
    assert_eq!(follower.event().await, (1, "one".to_owned()));
    for number in 2..100 {
        running.fake.happen("more");
        assert_eq!(follower.event().await, (number, "more".to_owned()));
    }
    assert_eq!(follower.interrupt().await, (Some(0), String::new()));
}

#[tokio::test]
async fn a_restart_of_the_agent_is_survived_and_told() {
    let mut running = Running::start().await;
    for message in ["one", "two"] {
        running.fake.happen(message);
    }
    let mut follower = Follower::start(&running, &[]);
    for _ in 0..3 {
        follower.line().await;
    }
    running.stop().await;
    let warning = follower.warning().await;
    assert!(warning.ends_with("trying again every 1s"), "{warning}");
    running.fake.forget_events();
    // As many as there were before and one more: by its number alone the last one would be all that is new.
    for message in ["first", "second", "third"] {
        running.fake.happen(message);
    }
    running.start_again().await;
    assert_eq!(follower.warning().await, "warning: lbd answers again");
    assert_eq!(follower.warning().await, "warning: lbd was started anew; its events begin again");
    for message in ["first", "second", "third"] {
        assert!(follower.line().await.ends_with(message));
    }
    assert_eq!(follower.interrupt().await, (Some(0), String::new()));
}

#[tokio::test]
async fn a_closed_pipe_ends_it_whether_something_happens_or_not() {
    for happens in [true, false] {
        let running = Running::start().await;
        running.fake.happen("one");
        let Follower { mut child, mut stdout, .. } = Follower::start(&running, &[]);
        in_time(stdout.next_line()).await.unwrap();
        drop(stdout);
        if happens {
            running.fake.happen("two");
        }
        assert_eq!(in_time(child.wait()).await.unwrap().code(), Some(0));
    }
}

#[tokio::test]
async fn without_an_agent_it_does_not_begin() {
    let mut running = Running::start().await;
    running.stop().await;
    let mut follower = Follower::start(&running, &[]);
    assert_eq!(in_time(follower.child.wait()).await.unwrap().code(), Some(3));
    assert!(follower.warning().await.starts_with("error: lbd is not running"));
}
