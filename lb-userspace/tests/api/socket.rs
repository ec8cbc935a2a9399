//! The socket in the file system: its modes, leftovers, and a second agent.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use lb_userspace::api::lock::{AgentLock, LockError};
use lb_userspace::api::server::{BindError, Server, ServerLimits};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::fake::{Fake, Running};

#[tokio::test]
async fn owner_and_group_may_connect_and_nobody_else() {
    let running = Running::start().await;
    let metadata = std::fs::metadata(&running.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
}

#[tokio::test]
async fn a_second_agent_is_refused_and_names_the_first() {
    let running = Running::start().await;
    let error = AgentLock::acquire(&running.socket).unwrap_err();
    assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    let wanted = format!(
        "another lbd is running (pid {}): it holds {}; stop it first, or give this one a control_socket of its own",
        std::process::id(),
        running.lock.path().display()
    );
    assert_eq!(error.to_string(), wanted);
    running.client().status().await.unwrap();
}

#[tokio::test]
async fn a_socket_that_nobody_answers_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "a killed agent leaves its socket");

    let lock = AgentLock::acquire(&socket).unwrap();
    let _server = Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap();
    UnixStream::connect(&socket).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_somebody_answers_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let other = UnixListener::bind(&socket).unwrap();
    let lock = AgentLock::acquire(&socket).unwrap();
    let error = Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap_err();
    assert!(matches!(error, BindError::Taken { .. }), "{error}");
    assert!(error.to_string().starts_with("another program answers at "), "{error}");
    drop(other);
    assert!(socket.exists());
}

#[tokio::test]
async fn a_file_in_the_way_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    std::fs::write(&socket, "precious").unwrap();
    let lock = AgentLock::acquire(&socket).unwrap();
    let error = Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("long".repeat(40)).join("lbd.sock");
    let lock = AgentLock::acquire(&socket).unwrap();
    let error = Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot open the control socket "), "{error}");
}

#[tokio::test]
async fn stopping_removes_the_socket_and_the_next_agent_takes_its_place() {
    let mut running = Running::start().await;
    running.client().status().await.unwrap();
    running.stop().await;
    assert!(!running.socket.exists());
    assert!(AgentLock::acquire(&running.socket).is_err(), "the lock outlives the server");

    let Running { lock, socket, directory: _directory, .. } = running;
    drop(lock);
    let lock = AgentLock::acquire(&socket).unwrap();
    Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_holds_on_cannot_keep_the_server_from_stopping() {
    let limits = ServerLimits { stop_time: Duration::from_millis(50), ..ServerLimits::default() };
    let mut running = Running::start_with(limits).await;
    let mut stream = UnixStream::connect(&running.socket).await.unwrap();
    stream.write_all(b"POST /v1/reload HTTP/1.1\r\n").await.unwrap();
    running.client().status().await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_removes_its_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("lbd.sock");
    let lock = AgentLock::acquire(&socket).unwrap();
    let server = Server::bind(&socket, &lock, ServerLimits::default()).await.unwrap();
    let run = server.run(Arc::new(Fake::default()), std::future::pending());
    assert!(tokio::time::timeout(Duration::ZERO, run).await.is_err());
    assert!(!socket.exists());
}
