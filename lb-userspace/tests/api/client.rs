//! What the client says when it cannot reach the agent.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use lb_userspace::api::client::{Client, ClientError};
use lb_userspace::api::error::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::PATIENCE;

async fn failure(socket: &Path) -> ClientError {
    Client::new(socket).with_call_time(PATIENCE).status().await.unwrap_err()
}

/// Answers one connection with `answer`, whatever was asked.
fn answer_once(socket: &Path, answer: &'static [u8]) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _length = stream.read(&mut request).await.unwrap();
        stream.write_all(answer).await.unwrap();
    });
}

#[tokio::test]
async fn without_a_socket_the_agent_is_not_running() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let text = failure(&socket).await.to_string();
    let wanted = format!("lbd is not running (no socket at {}); start it with", socket.display());
    assert!(text.starts_with(&wanted), "{text}");
}

#[tokio::test]
async fn a_socket_left_over_is_told_from_none() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let text = failure(&socket).await.to_string();
    let wanted = format!("lbd is not running (nobody answers at {}); start it with", socket.display());
    assert!(text.starts_with(&wanted), "{text}");
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let client = Client::new(&socket).with_call_time(Duration::from_millis(50));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.to_string().starts_with("lbd did not answer within 50ms at "), "{error}");
}

#[tokio::test]
async fn a_full_backlog_is_a_busy_agent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let error = failure(&socket).await;
    assert!(matches!(error, ClientError::Busy { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lbd.sock");
    std::fs::write(&file, "").unwrap();
    // connect(2) refuses a plain file as it refuses a socket without a listener.
    let error = failure(&file).await;
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    let error = failure(&file.join("below")).await;
    assert!(error.to_string().starts_with("cannot connect to "), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_of_this_api_is_told_so() {
    for (answer, reason) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"[..], "missing field `version`"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "expected value"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>", "HTTP status 502 Bad Gateway"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lbd.sock");
        answer_once(&socket, answer);
        let error = failure(&socket).await;
        assert!(matches!(error, ClientError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("of the same version"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_so() {
    for answer in [&b""[..], b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lbd.sock");
        answer_once(&socket, answer);
        let error = failure(&socket).await;
        assert!(matches!(error, ClientError::Broken { .. }), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn every_failure_parts_message_and_advice_for_json() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let error = failure(&socket).await;
    let api = error.to_api_error();
    assert_eq!(api.code, ErrorCode::AgentUnreachable);
    assert_eq!(api.message, format!("lbd is not running (no socket at {})", socket.display()));
    assert_eq!(error.to_string(), format!("{}; {}", api.message, api.hint.unwrap()));

    let denied = ClientError::PermissionDenied { socket: "/s".into(), who: "root or group lb".into() };
    let api = denied.to_api_error();
    assert_eq!(api.message, "permission denied at /s: lbctl needs root or group lb");
    assert_eq!(api.hint.as_deref(), Some("run it with sudo"));
}
