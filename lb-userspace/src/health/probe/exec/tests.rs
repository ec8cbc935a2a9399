//! Real commands.
//!
//! The tests share the limit on commands with each other, so their commands are short, or the tests wait for a turn.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

const AMPLE: Duration = Duration::from_secs(20);
/// For commands that are meant to run into it; enough for a shell to start on a busy machine.
const SHORT: Duration = Duration::from_secs(1);

fn address() -> SocketAddr {
    "[2001:db8::1]:8080".parse().unwrap()
}

fn command_of(words: &[&str]) -> ExecCheck {
    ExecCheck { command: words.iter().map(|word| (*word).to_owned()).collect() }
}

async fn run(words: &[&str], timeout: Duration) -> Result<Answer, ProbeError> {
    probe(&Question::new(address(), None, timeout), &command_of(words)).await
}

async fn shell(script: &str, timeout: Duration) -> Result<Answer, ProbeError> {
    run(&["/bin/sh", "-c", script], timeout).await
}

/// How a command ended that did not end well.
async fn bad(script: &str, timeout: Duration) -> String {
    match shell(script, timeout).await {
        Err(ProbeError::Command { detail, .. }) => detail,
        other => panic!("{script}: {other:?}"),
    }
}

#[tokio::test]
async fn status_0_is_good_and_takes_the_time_that_it_takes() {
    let latency = run(&["/bin/true"], AMPLE).await.unwrap().latency;
    assert!(latency > Duration::ZERO && latency < AMPLE);
}

#[tokio::test]
async fn every_other_end_is_bad_and_told() {
    assert_eq!(bad("exit 2", AMPLE).await, "ended with status 2");
    assert_eq!(bad("echo disk full; echo more; exit 2", AMPLE).await, "ended with status 2: disk full");
    assert_eq!(bad("echo no route >&2; exit 1", AMPLE).await, "ended with status 1: no route");
    assert_eq!(bad("echo noise >&2; echo reason; exit 1", AMPLE).await, "ended with status 1: reason");
    assert_eq!(bad("kill -9 $$", AMPLE).await, "was killed by signal 9");
    assert_eq!(
        bad("echo waiting for the lock; sleep 1000", SHORT).await,
        "did not end within 1s and was killed: waiting for the lock"
    );
    let error = shell("exit 3", AMPLE).await.unwrap_err();
    assert_eq!(error.to_string(), "the command for [2001:db8::1]:8080 ended with status 3");
    assert!(!error.is_inconclusive());
}

#[tokio::test]
async fn address_and_port_stand_in_arguments_and_environment_and_nothing_else_does() {
    let script = "test \"$1\" = '2001:db8::1:8080' && test \"$LB_ADDRESS/$LB_PORT\" = '2001:db8::1/8080' \
                  && test \"$(pwd)\" = / && env | grep -v '^_=' | sort | cut -d= -f1 | tr '\\n' ' '; exit 9";
    let words = ["/bin/sh", "-c", script, "sh", "{address}:{port}"];
    let error = run(&words, AMPLE).await.unwrap_err().to_string();
    assert!(error.ends_with("status 9: LANG LB_ADDRESS LB_PORT PATH PWD"), "{error}");
}

#[tokio::test]
async fn stdin_is_empty() {
    shell("! read line", AMPLE).await.unwrap();
}

/// Blocked and ignored signals by the text of `/proc/PID/status`, without those that are the C library's own.
fn signals(status: &str) -> [u64; 2] {
    ["SigBlk:", "SigIgn:"].map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 0x7fff_ffff
    })
}

/// Rust programs ignore SIGPIPE; what else is ignored was so before.
#[tokio::test]
async fn no_signal_is_blocked_nor_ignored_on_account_of_the_agent() {
    const SIGPIPE_BIT: u64 = 1 << (libc::SIGPIPE - 1);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("status");
    shell(&format!("exec cat /proc/self/status > {}", file.display()), AMPLE).await.unwrap();
    let [_, ignored] = signals(&std::fs::read_to_string("/proc/self/status").unwrap());
    assert_ne!(ignored & SIGPIPE_BIT, 0);
    assert_eq!(signals(&std::fs::read_to_string(file).unwrap()), [0, ignored & !SIGPIPE_BIT]);
}

#[tokio::test]
async fn output_is_bounded_and_never_waited_for() {
    // More than a pipe holds: the command ends all the same.
    let detail = bad("head -c 300000 /dev/zero | tr '\\0' x; exit 1", AMPLE).await;
    assert_eq!(detail, format!("ended with status 1: {}", "x".repeat(MAX_OUTPUT_BYTES)));
    let detail = bad("exec yes", SHORT).await;
    assert_eq!(detail, "did not end within 1s and was killed: y");
    shell("exec >&- 2>&-; exit 0", AMPLE).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_says_nothing_about_the_target() {
    for (program, advice) in
        [("/nonexistent/check", "see that it is there"), ("/etc/passwd", "chmod +x"), ("/", "chmod +x")]
    {
        let error = run(&[program], AMPLE).await.unwrap_err();
        assert!(error.is_inconclusive(), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("cannot run {program}: ")) && text.contains(advice), "{text}");
    }
}

/// Whether a process is there, as a zombie too.
fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Waits until processes are gone; SIGKILL works at once, but not within the call.
async fn gone(pids: &[String]) {
    let start = Instant::now();
    while pids.iter().any(|pid| is_there(pid)) {
        assert!(start.elapsed() < AMPLE, "still there: {pids:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A script that writes the numbers of itself, a child and a grandchild into a file, and then does `rest`.
fn family(file: &Path, rest: &str) -> String {
    let file = file.display();
    format!("sh -c 'sleep 1000 & echo $! $PPID $$ > {file}.new; mv {file}.new {file}; wait' & {rest}")
}

fn numbers(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_hung_command_is_gone_after_its_time_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let start = Instant::now();
    let detail = bad(&family(&file, "wait"), SHORT).await;
    assert_eq!(detail, "did not end within 1s and was killed");
    assert!(start.elapsed() < AMPLE);
    let pids = numbers(&file);
    assert_eq!(pids.len(), 3, "{pids:?}");
    gone(&pids).await;
}

#[tokio::test]
async fn a_command_that_ends_takes_along_what_it_started_and_nobody_waits_for_its_pipes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    // The grandchild has the pipe open for 1000 s.
    let rest = format!("while ! test -e {}; do :; done; echo done; exit 0", file.display());
    let latency = shell(&family(&file, &rest), AMPLE).await.unwrap().latency;
    assert!(latency < AMPLE);
    let pids = numbers(&file);
    assert_eq!(pids.len(), 3);
    gone(&pids).await;
}

#[tokio::test]
async fn a_probe_that_is_dropped_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let script = family(&file, "wait");
    let task = tokio::spawn(async move { shell(&script, AMPLE).await });
    while numbers(&file).is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let pids = numbers(&file);
    assert!(pids.iter().all(|pid| is_there(pid)));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    gone(&pids).await;
}

/// A hundred commands, each of which counts those that run beside it: itself included, never more than the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_probes_at_once_stay_within_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {} && mkdir $$ && set -- * && echo $# && sleep 0.05 && rmdir $$ && exit 1",
        directory.path().display()
    );
    let counts = futures_util::future::join_all((0..100).map(|_| bad(&script, AMPLE))).await;
    let counts: Vec<usize> = counts
        .iter()
        .map(|detail| detail.strip_prefix("ended with status 1: ").unwrap_or(detail).parse().unwrap())
        .collect();
    assert!(counts.iter().all(|count| *count <= MAX_COMMANDS), "{counts:?}");
    assert!(counts.iter().any(|count| *count > 1), "some ran side by side: {counts:?}");
}

#[tokio::test]
async fn without_a_turn_in_its_time_a_probe_says_nothing_about_the_target() {
    let everything = COMMANDS.acquire_many(u32::try_from(MAX_COMMANDS).unwrap()).await.unwrap();
    let error = shell("exit 1", SHORT).await.unwrap_err();
    drop(everything);
    assert!(error.is_inconclusive(), "{error}");
    assert!(error.to_string().contains("64 commands were running for all of 1s"), "{error}");
    shell("exit 0", AMPLE).await.unwrap();
}
