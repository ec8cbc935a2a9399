//! `lbctl` as a user runs it: the built program, its output and its exit codes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use lb_userspace::api::edit::EditResult;
use lb_userspace::api::error::{ApiError, ErrorCode};
use lb_userspace::api::types::{BackendInfo, Status};

use crate::fake::Running;

/// A user without rights, where the tests run as root.
const NOBODY: u32 = 65_534;

fn command(socket: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
    command.arg("--socket").arg(socket).args(line.split_whitespace());
    command
}

/// Runs the program off the runtime's threads, so that the server in this process can answer it.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn lbctl(running: &Running, line: &str) -> (i32, String, String) {
    let output = run(command(&running.socket, line)).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn an_edit_says_in_one_line_what_it_changed() {
    let running = Running::start().await;
    for (line, wanted) in [
        ("backend add web/web4 10.0.0.14:80 --weight 50", "web/web4 added, generation 12"),
        ("backend weight web/web4 70", "web/web4 weight set to 70, generation 13"),
        ("backend weight web/web4 70", "web/web4 has weight 70 already, generation 13"),
        (
            "backend drain web/web4",
            "web/web4 takes no new flows, generation 14; its connections stay until they end (lbctl backend drain --wait shows them)",
        ),
        (
            "backend drain web/web4",
            "web/web4 is being drained already, generation 14; its connections stay until they end (lbctl backend drain --wait shows them)",
        ),
        (
            "backend maintenance web/web4",
            "web/web4 takes no traffic, generation 15; its connections are given up",
        ),
        (
            "backend maintenance web/web4",
            "web/web4 takes no traffic already, generation 15; its connections are given up",
        ),
        ("backend undrain web/web4", "web/web4 takes new flows again, generation 16"),
        ("backend undrain web/web4", "web/web4 takes new flows already, generation 16"),
        ("backend remove web/web4", "web/web4 removed, generation 17"),
        ("reload", "configuration not changed, generation 17"),
    ] {
        let wanted = (0, format!("{wanted}\n"), "warning: sample warning\n".to_owned());
        assert_eq!(lbctl(&running, line).await, wanted, "{line}");
    }
}

#[tokio::test]
async fn tables_are_for_people_and_have_no_colour_in_a_pipe() {
    let running = Running::start().await;
    let (code, stdout, stderr) = lbctl(&running, "backend list web").await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let first: Vec<&str> = stdout.lines().take(2).map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(first, ["BACKEND", "web/web1"]);
    assert!(!stdout.contains('\u{1b}'));
    for (line, start) in
        [("status", "lbd 0.1.0, pid 4711"), ("service list", "SERVICE"), ("events --limit 2", "TIME")]
    {
        let (code, stdout, _) = lbctl(&running, line).await;
        assert!(code == 0 && stdout.starts_with(start), "{line}: {stdout}");
    }
}

#[tokio::test]
async fn json_is_the_apis_types() {
    let running = Running::start().await;
    let client = running.client();
    let (_, stdout, _) = lbctl(&running, "-o json status").await;
    assert_eq!(serde_json::from_str::<Status>(&stdout).unwrap(), client.status().await.unwrap());
    let (_, stdout, _) = lbctl(&running, "backend list -o json").await;
    let backends: Vec<BackendInfo> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(backends, client.backends(None).await.unwrap());
    let (code, stdout, stderr) = lbctl(&running, "backend drain web/web1 -o json").await;
    let wanted = EditResult { generation: 12, changed: true, warnings: vec!["sample warning".into()] };
    assert_eq!(serde_json::from_str::<EditResult>(&stdout).unwrap(), wanted);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn a_refusal_ends_1_with_its_place_on_stderr() {
    let running = Running::start().await;
    let wanted =
        "error: 1 error in /etc/lb/lb.toml\n  line 7, column 30: weight is 1001; it must be 0 to 1,000\n";
    let line = "backend weight web/web1 1001";
    assert_eq!(lbctl(&running, line).await, (1, String::new(), wanted.to_owned()));
    let (code, stdout, stderr) = lbctl(&running, &format!("{line} -o json")).await;
    let error: ApiError = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, stdout.as_str(), error.code), (1, "", ErrorCode::InvalidConfig));
    assert_eq!(error.details[0].column, 30);
}

/// The clock of another process does not stand still: as short as it can be.
#[tokio::test]
async fn a_wait_that_is_too_long_ends_4_with_what_remains_on_stderr() {
    let running = Running::start().await;
    let line = "backend drain web/web1 --wait --timeout 20ms";
    let (code, stdout, stderr) = lbctl(&running, line).await;
    let wanted = "\nerror: web/web1 is not drained after 20ms: 0 flows remain; it stays draining\nhint: ";
    assert!(stderr.starts_with("warning: sample warning\n") && stderr.contains(wanted), "{stderr}");
    assert_eq!((code, stdout.as_str()), (4, ""));
    let (code, stdout, stderr) = lbctl(&running, &format!("{line} -o json")).await;
    let error: ApiError = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, stdout.as_str(), error.code), (4, "", ErrorCode::Deadline));
}

#[tokio::test]
async fn wrong_use_ends_2() {
    let running = Running::start().await;
    for line in [
        "",
        "backend drain web1",
        "backend drain web/web1 --timeout 1s",
        "backend weight web/web1",
        "frobnicate",
    ] {
        let (code, stdout, stderr) = lbctl(&running, line).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}");
        assert!(stderr.contains("Usage:") || stderr.contains("--help"), "{line}: {stderr}");
    }
    let (code, _, stderr) = lbctl(&running, "-o json backend drain web1").await;
    let error: ApiError = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, error.code), (2, ErrorCode::Usage));
    let (code, stdout, _) = lbctl(&running, "--help").await;
    assert!(code == 0 && stdout.contains("Exit codes: 0 done"), "{stdout}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_ends_3() {
    let mut running = Running::start().await;
    running.stop().await;
    let (code, stdout, stderr) = lbctl(&running, "status").await;
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.starts_with("error: lbd is not running (no socket at "), "{stderr}");
    let (code, _, stderr) = lbctl(&running, "status -o json").await;
    let error: ApiError = serde_json::from_str(&stderr).unwrap();
    assert_eq!((code, error.code), (3, ErrorCode::AgentUnreachable));
}

/// Only root can become somebody else; elsewhere the user running the tests is not root, and the socket is closed to
/// everybody instead.
#[tokio::test]
async fn a_user_without_rights_is_told_who_may() {
    let running = Running::start().await;
    let directory = running.socket.parent().unwrap();
    let above = directory.parent().unwrap();
    std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o755)).unwrap();
    // The build directory may be closed to others.
    let program = above.join("lbctl");
    std::fs::copy(env!("CARGO_BIN_EXE_lbctl"), &program).unwrap();
    let mut command = Command::new(program);
    command.arg("--socket").arg(&running.socket).arg("status");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    } else {
        std::fs::set_permissions(&running.socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = run(command).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.starts_with("error: permission denied at "), "{stderr}");
    assert!(stderr.contains("lbctl needs root"), "{stderr}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let running = Running::start().await;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("\"$0\" --socket \"$1\" events --limit 10000 -o json; echo $? >&2");
    shell.arg(env!("CARGO_BIN_EXE_lbctl")).arg(&running.socket);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    shell.stdout(writer);
    let output = run(shell).await;
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "0\n");
}
