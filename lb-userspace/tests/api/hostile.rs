//! Requests that are wrong, too large, too slow, or too many.

use std::time::{Duration, Instant};

use lb_userspace::api::client::ClientError;
use lb_userspace::api::edit::AddBackend;
use lb_userspace::api::error::{ApiError, ErrorCode};
use lb_userspace::api::server::{MAX_BODY_BYTES, ServerLimits};
use lb_userspace::api::types::AdminState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::fake::{PANIC_NAME, PATIENCE, Running, SLOW_NAME, read_refusal};

/// A limit for tests that wait for it to pass.
const SHORT: Duration = Duration::from_millis(50);

const ADD_HEAD: &str = "POST /v1/pools/web/backends HTTP/1.1\r\nhost: x\r\n";

fn post(body: &str) -> Vec<u8> {
    format!("{ADD_HEAD}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

fn named(name: &str) -> AddBackend {
    AddBackend {
        name: name.into(),
        address: "10.0.0.99:80".parse().unwrap(),
        weight: None,
        state: AdminState::Active,
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ApiError {
    match result {
        Err(ClientError::Refused(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_with_the_reason() {
    let running = Running::start().await;
    for (body, reason) in [
        ("", "EOF while parsing"),
        ("{", "EOF while parsing"),
        ("[]", "invalid length 0"),
        ("nonsense", "expected ident"),
        (r#"{"name":"web4"}"#, "missing field `address`"),
        (r#"{"name":"web4","address":"web4:80"}"#, "write an IP address"),
        (r#"{"name":"web4","address":"10.0.0.14","weight":-1}"#, "invalid value: integer `-1`"),
        (r#"{"name":"web4","address":"10.0.0.14","weight":4294967296}"#, "invalid value"),
        (r#"{"name":"web4","address":"10.0.0.14","state":"gone"}"#, "unknown variant `gone`"),
        (r#"{"name":"web4","address":"10.0.0.14","wieght":1}"#, "unknown field `wieght`"),
        (r#"{"name":"web4","address":"10.0.0.14"} x"#, "trailing characters"),
    ] {
        let (status, error) = running.raw(&post(body)).await;
        assert_eq!((status, error.code), (400, ErrorCode::InvalidRequest), "{body}");
        assert!(error.message.contains(reason), "{body}: {}", error.message);
    }
    assert_eq!(running.fake.names(), ["web1", "web2"]);
}

#[tokio::test]
async fn deep_nesting_does_not_exhaust_the_stack() {
    let running = Running::start().await;
    let (status, error) = running.raw(&post(&"[".repeat(MAX_BODY_BYTES))).await;
    assert_eq!((status, error.code), (400, ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let running = Running::start().await;
    let mut request = post("{\"name\":\"??\",\"address\":\"10.0.0.14\"}");
    let at = request.windows(2).position(|pair| pair == b"??").unwrap();
    request[at..at + 2].copy_from_slice(b"\xff\xfe");
    assert_eq!(running.raw(&request).await.0, 400);
    let (status, error) = running.raw(b"DELETE /v1/pools/web/backends/%ff HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((status, error.code), (400, ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn a_route_that_is_not_there_and_a_wrong_method_are_told_apart() {
    let running = Running::start().await;
    for path in ["/", "/v1", "/v2/status", "/v1/status/", "/v1/pools/web/backends/a/b/c"] {
        let (status, error) = running.raw(&get(path)).await;
        assert_eq!((status, error.code), (404, ErrorCode::NotFound), "{path}");
        assert!(error.message.contains(&format!("no GET {path} in this API")), "{}", error.message);
    }
    for path in ["/v1/reload", "/v1/pools/web/backends", "/v1/pools/web/backends/web1"] {
        let (status, error) = running.raw(&get(path)).await;
        assert_eq!((status, error.code), (405, ErrorCode::MethodNotAllowed), "{path}");
        assert_eq!(error.message, format!("{path} does not take GET"));
    }
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let running = Running::start().await;
    for path in [
        "/v1/events?limit=many",
        "/v1/events?limit=-1",
        "/v1/events?limt=1",
        "/v1/backends?poool=web",
        "/v1/backends?pool=web&pool=app",
    ] {
        let (status, error) = running.raw(&get(path)).await;
        assert_eq!((status, error.code), (400, ErrorCode::InvalidRequest), "{path}");
        assert!(error.message.starts_with("cannot read the query"), "{}", error.message);
    }
}

#[tokio::test]
async fn what_is_no_http_is_answered_or_closed_and_harms_nobody() {
    let running = Running::start().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = UnixStream::connect(&running.socket).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as a close.
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(end.is_err() || !answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
    running.client().status().await.unwrap();
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_not_larger() {
    let running = Running::start().await;
    let body = |bytes: usize| {
        let json = r#"{"name":"web4","address":"10.0.0.14"}"#;
        format!("{json}{}", " ".repeat(bytes - json.len()))
    };
    let (status, error) = running.raw(&post(&body(MAX_BODY_BYTES + 1))).await;
    assert_eq!((status, error.code), (413, ErrorCode::TooLarge));
    assert_eq!(error.message, "the body is larger than 65536 bytes");
    assert_eq!(running.fake.names(), ["web1", "web2"]);

    let mut stream = UnixStream::connect(&running.socket).await.unwrap();
    stream.write_all(&post(&body(MAX_BODY_BYTES))).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!(running.fake.names(), ["web1", "web2", "web4"]);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let running = Running::start().await;
    let mut stream = UnixStream::connect(&running.socket).await.unwrap();
    let chunk = format!("{MAX_BODY_BYTES:x}\r\n{}\r\n1\r\nx\r\n", " ".repeat(MAX_BODY_BYTES));
    stream
        .write_all(format!("{ADD_HEAD}transfer-encoding: chunked\r\n\r\n{chunk}").as_bytes())
        .await
        .unwrap();
    let (status, error) = read_refusal(&mut stream).await;
    assert_eq!((status, error.code), (413, ErrorCode::TooLarge));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let running = Running::start_with(ServerLimits { body_time: SHORT, ..ServerLimits::default() }).await;
    let (status, error) = running.raw(format!("{ADD_HEAD}content-length: 100\r\n\r\n{{").as_bytes()).await;
    assert_eq!((status, error.code), (408, ErrorCode::RequestTimeout));
    assert_eq!(error.message, "the body did not arrive within 50ms");
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_makes_room() {
    let limits = ServerLimits { connections: 1, connection_lifetime: SHORT, ..ServerLimits::default() };
    let running = Running::start_with(limits).await;
    for opening in ["", "GET /v1/st", "GET /v1/status HTTP/1.1\r\nhost:"] {
        let mut silent = UnixStream::connect(&running.socket).await.unwrap();
        silent.write_all(opening.as_bytes()).await.unwrap();
        // There is one place only, so this is served when the silent one is gone.
        running.client().status().await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.unwrap();
        assert!(end.is_err() || rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let limits = ServerLimits { connections: 1, connection_lifetime: SHORT, ..ServerLimits::default() };
    let running = Running::start_with(limits).await;
    let mut deaf = UnixStream::connect(&running.socket).await.unwrap();
    deaf.write_all(&get("/v1/events?limit=10000")).await.unwrap();
    running.client().status().await.unwrap();
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_dropped() {
    let running = Running::start_with(ServerLimits { call_time: SHORT, ..ServerLimits::default() }).await;
    let error = refused(running.client().backends(Some(SLOW_NAME)).await);
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(error.message, "lbd found no answer within 50ms");
}

#[tokio::test]
async fn an_edit_that_takes_too_long_is_carried_to_its_end() {
    let running = Running::start_with(ServerLimits { call_time: SHORT, ..ServerLimits::default() }).await;
    let error = refused(running.client().add_backend("web", &named(SLOW_NAME)).await);
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(error.hint.unwrap().contains("still being carried out"));
    running.fake.go_on.notify_one();
    until(|| running.fake.names().contains(&SLOW_NAME.to_owned())).await;
}

#[tokio::test]
async fn an_edit_goes_on_when_its_client_goes_away() {
    let running = Running::start().await;
    let mut stream = UnixStream::connect(&running.socket).await.unwrap();
    let body = serde_json::to_string(&named(SLOW_NAME)).unwrap();
    stream.write_all(&post(&body)).await.unwrap();
    running.fake.begun.notified().await;
    drop(stream);
    // A request on another connection has its answer only after the server saw the first one end, or before: either way
    // the edit is still there to be let go.
    running.client().status().await.unwrap();
    running.fake.go_on.notify_one();
    until(|| running.fake.names().contains(&SLOW_NAME.to_owned())).await;
}

#[tokio::test]
async fn edits_beyond_the_limit_are_refused_at_once_and_reads_go_on() {
    let running = Running::start_with(ServerLimits { edits: 1, ..ServerLimits::default() }).await;
    let client = running.client();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.add_backend("web", &named(SLOW_NAME)).await }
    });
    running.fake.begun.notified().await;
    let error = refused(client.add_backend("web", &named("web4")).await);
    assert_eq!(error.code, ErrorCode::Unavailable);
    client.status().await.unwrap();

    running.fake.go_on.notify_one();
    first.await.unwrap().unwrap();
    client.add_backend("web", &named("web4")).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_agent_is_an_answer_and_the_server_lives_on() {
    let running = Running::start_with(ServerLimits { edits: 1, ..ServerLimits::default() }).await;
    let client = running.client();
    assert_eq!(refused(client.backends(Some(PANIC_NAME)).await).code, ErrorCode::Internal);
    for _ in 0..3 {
        let error = refused(client.add_backend("web", &named(PANIC_NAME)).await);
        assert_eq!(error.code, ErrorCode::Internal);
    }
    client.add_backend("web", &named("web4")).await.unwrap();
}

/// Waits for what the server's tasks are about to do.
async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        tokio::task::yield_now().await;
    }
}
