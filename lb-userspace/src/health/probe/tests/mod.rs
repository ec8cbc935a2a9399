//! Probes against real servers on the loopback interface.

mod grpc;
mod http2;
mod http_body;
pub(super) mod pki;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Close;
use super::*;
use crate::model::{HttpCheck, MysqlCheck, StatusSet, UdpCheck};

/// Ample for a server on the same machine, even a busy one.
const AMPLE: Duration = Duration::from_secs(10);
/// For probes that are meant to run into it.
const SHORT: Duration = Duration::from_millis(100);

fn check(kind: CheckKind, timeout: Duration) -> Check {
    Check { interval: Duration::from_secs(20), timeout, ..Check::new(kind) }
}

fn http(timeout: Duration) -> Check {
    let kind = CheckKind::Http(HttpCheck {
        method: "GET".to_owned(),
        path: "/healthz?deep=1".to_owned(),
        host: None,
        expect_status: StatusSet(vec![(200, 299), (304, 304)]),
        ..HttpCheck::default()
    });
    check(kind, timeout)
}

/// Asks once; how long the answer took.
async fn probe(address: SocketAddr, check: &Check) -> Result<Duration, ProbeError> {
    Prober::new(address, Arc::new(check.clone())).probe().await.map(|answer| answer.latency)
}

/// Listens, hands the first connection to `handle`, and gives what that returned.
async fn server<T, F>(
    handle: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, oneshot::Receiver<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (done, outcome) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = done.send(handle(stream).await);
    });
    (address, outcome)
}

/// Reads up to the end of the request's head.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

/// A server that answers the first request with `answer` and closes.
async fn answering(answer: &'static [u8]) -> SocketAddr {
    let (address, _) = server(async move |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(answer).await.unwrap();
    })
    .await;
    address
}

/// A port that nobody listens on, and the socket that keeps it from others while it lives.
fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn tcp_accepted_is_good_and_closes_with_a_reset() {
    let (address, outcome) = server(async |mut stream| stream.read_u8().await).await;
    let latency = probe(address, &check(CheckKind::Tcp, AMPLE)).await.unwrap();
    assert!(latency > Duration::ZERO && latency < AMPLE);
    let end = outcome.await.unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "a FIN would leave TIME-WAIT on the node");
}

#[tokio::test]
async fn refused_is_bad_for_every_kind() {
    let (_held, address) = refusing();
    for check in [check(CheckKind::Tcp, AMPLE), http(AMPLE)] {
        assert_eq!(probe(address, &check).await, Err(ProbeError::Refused { address }));
    }
}

/// A listener whose queue is full: the kernel drops further SYNs, as a host that has gone would.
async fn silent() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 10, "the queue never fills");
    }
    (listener, waiting)
}

#[tokio::test]
async fn a_handshake_that_gets_no_answer_times_out() {
    let (listener, _waiting) = silent().await;
    let address = listener.local_addr().unwrap();
    for check in [check(CheckKind::Tcp, SHORT), http(SHORT)] {
        let start = Instant::now();
        let error = probe(address, &check).await.unwrap_err();
        assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Connect, timeout: SHORT });
        assert!(start.elapsed() >= SHORT);
    }
}

#[tokio::test]
async fn http_sends_the_request_that_the_check_says() {
    let (address, request) = server(async |mut stream| {
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        request
    })
    .await;
    probe(address, &http(AMPLE)).await.unwrap();
    let request = request.await.unwrap();
    let lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines[0], "GET /healthz?deep=1 HTTP/1.1");
    let host = format!("host: {address}");
    for expected in [host.as_str(), "user-agent: lbd-check", "connection: close"] {
        assert!(lines[1..].contains(&expected), "no {expected:?} in {lines:?}");
    }
}

#[tokio::test]
async fn http_method_and_host_are_the_checks_own() {
    let (address, request) = server(async |mut stream| {
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
        request
    })
    .await;
    let CheckKind::Http(mut kind) = http(AMPLE).kind else { panic!("an HTTP check") };
    kind.method = "HEAD".to_owned();
    kind.host = Some("www.example.org".to_owned());
    probe(address, &check(CheckKind::Http(kind), AMPLE)).await.unwrap();
    let request = request.await.unwrap();
    assert!(request.starts_with("HEAD /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: www.example.org\r\n"), "{request}");
}

#[tokio::test]
async fn http_statuses_are_judged_by_the_set() {
    for good in [
        &b"HTTP/1.1 200 OK\r\n\r\nhello"[..],
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.0 299 X\r\n\r\n",
    ] {
        let result = probe(answering(good).await, &http(AMPLE)).await;
        assert!(result.is_ok(), "{result:?}");
    }
    for (answer, status) in [
        (&b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"[..], 500),
        (b"HTTP/1.1 301 Moved Permanently\r\nLocation: /x\r\n\r\n", 301),
        (b"HTTP/1.1 305 Use Proxy\r\n\r\n", 305),
    ] {
        let address = answering(answer).await;
        let accepted = "200-299, 304".to_owned();
        assert_eq!(probe(address, &http(AMPLE)).await, Err(ProbeError::Status { address, status, accepted }));
    }
}

#[tokio::test]
async fn http_accepted_but_never_answered_times_out() {
    let (address, outcome) = server(async |mut stream| {
        read_request(&mut stream).await;
        stream.read_u8().await
    })
    .await;
    let error = probe(address, &http(SHORT)).await.unwrap_err();
    assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT });
    assert!(outcome.await.unwrap().is_err(), "the connection goes with the probe");
}

#[tokio::test]
async fn http_slow_answers_count_until_the_timeout() {
    let slow = async |delay: Duration| {
        let (address, _) = server(async move |mut stream: TcpStream| {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Half: 1\r\n").await.unwrap();
            tokio::time::sleep(delay).await;
            let _probe_may_be_gone = stream.write_all(b"\r\n").await;
        })
        .await;
        address
    };
    let in_time = probe(slow(SHORT).await, &http(AMPLE)).await.unwrap();
    assert!(in_time >= SHORT, "the latency is that of the whole head: {in_time:?}");

    let address = slow(SHORT * 2).await;
    let too_late = probe(address, &http(SHORT)).await;
    assert_eq!(too_late, Err(ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT }));
}

#[tokio::test]
async fn http_malformed_answers_are_named_so() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
    ] {
        let address = answering(answer).await;
        let error = probe(address, &http(AMPLE)).await.unwrap_err();
        assert!(matches!(error, ProbeError::Malformed { address: at, .. } if at == address), "{error:?}");
    }
}

#[tokio::test]
async fn http_connection_ended_before_the_answer() {
    let (closing, _) = server(async |mut stream| {
        read_request(&mut stream).await;
        stream.shutdown().await.unwrap();
    })
    .await;
    let error = probe(closing, &http(AMPLE)).await.unwrap_err();
    assert_eq!(error, ProbeError::Closed { address: closing, how: Close::InOrder });

    let (resetting, _) = server(async |mut stream| {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = probe(resetting, &http(AMPLE)).await.unwrap_err();
    assert_eq!(error, ProbeError::Closed { address: resetting, how: Close::Reset });
}

/// Sends `head`, then `more` for as long as the probe takes it; gives the bytes that were sent.
async fn pour(mut stream: TcpStream, head: &[u8], more: &[u8]) -> usize {
    read_request(&mut stream).await;
    stream.write_all(head).await.unwrap();
    let mut sent_bytes = 0;
    while stream.write_all(more).await.is_ok() {
        sent_bytes += more.len();
    }
    sent_bytes
}

#[tokio::test]
async fn http_endless_heads_are_cut_off() {
    for more in [&b"X-Header: value\r\n"[..], b"one endless header line "] {
        let (address, _) =
            server(async move |stream| pour(stream, b"HTTP/1.1 200 OK\r\nX-First: ", more).await).await;
        let error = probe(address, &http(AMPLE)).await.unwrap_err();
        assert!(matches!(error, ProbeError::TooLarge { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn http_endless_bodies_are_good_and_cut_off() {
    let block = &[b'x'; 4096];
    let (address, sent_bytes) =
        server(async |stream| pour(stream, b"HTTP/1.1 200 OK\r\nX-First: 1\r\n\r\n", block).await).await;
    probe(address, &http(AMPLE)).await.unwrap();
    // What is sent beyond the limit sits in socket buffers, at most some megabytes.
    assert!(sent_bytes.await.unwrap() < 64 << 20);
}

#[tokio::test]
async fn http_body_that_never_ends_is_good_at_the_timeout() {
    let (address, _) = server(async |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
        stream.read_u8().await
    })
    .await;
    let (start, timeout) = (Instant::now(), SHORT * 10);
    let latency = probe(address, &http(timeout)).await.unwrap();
    assert!(start.elapsed() >= timeout, "waited for the rest of the body");
    assert!(latency < timeout, "the latency is that of the head");
}

#[tokio::test]
async fn http_request_that_cannot_be_sent_is_inconclusive() {
    let CheckKind::Http(mut kind) = http(AMPLE).kind else { panic!("an HTTP check") };
    kind.path = "/with a space".to_owned();
    let (_held, address) = refusing();
    let error = probe(address, &check(CheckKind::Http(kind), AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Request { .. }), "{error:?}");
    assert!(error.is_inconclusive());
}

#[tokio::test]
async fn a_source_that_is_not_this_nodes_is_the_nodes_fault_and_not_the_targets() {
    let (_held, address) = refusing();
    for kind in [
        CheckKind::Tcp,
        CheckKind::Udp(UdpCheck { send: b"x".to_vec(), expect: None }),
        CheckKind::Mysql(MysqlCheck { account: None }),
    ] {
        let check = Check { source: Some("192.0.2.77".parse().unwrap()), ..check(kind, AMPLE) };
        let error = probe(address, &check).await.unwrap_err();
        assert!(error.is_inconclusive(), "{error:?}");
        assert!(error.to_string().contains("this node cannot ask from 192.0.2.77"), "{error}");
    }
    let own = Check { source: Some("127.0.0.9".parse().unwrap()), ..check(CheckKind::Tcp, AMPLE) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, accepted) = tokio::join!(probe(address, &own), listener.accept());
    asked.unwrap();
    assert_eq!(accepted.unwrap().1.ip().to_string(), "127.0.0.9");
}

#[test]
fn errors_of_the_socket_calls_are_named() {
    let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let named = |errno| {
        let error = io::Error::from_raw_os_error(errno);
        let named = ProbeError::from_io(address, Stage::Connect, SHORT, &error);
        assert!(named.to_string().contains("192.0.2.1:80"), "{named}");
        named
    };
    for errno in [libc::EMFILE, libc::ENFILE] {
        assert!(matches!(named(errno), ProbeError::TooManyOpenFiles { .. }));
    }
    for errno in [libc::ENOBUFS, libc::ENOMEM] {
        assert!(matches!(named(errno), ProbeError::OutOfMemory { .. }));
    }
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert!(named(errno).is_inconclusive());
    }
    for errno in [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPERM] {
        assert!(matches!(named(errno), ProbeError::NotAsked { .. }), "{:?}", named(errno));
        assert!(named(errno).is_inconclusive());
    }
    for errno in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ENETDOWN, libc::EACCES] {
        assert!(matches!(named(errno), ProbeError::Unreachable { .. }), "{:?}", named(errno));
    }
    assert_eq!(named(libc::ECONNREFUSED), ProbeError::Refused { address });
    assert_eq!(
        named(libc::ETIMEDOUT),
        ProbeError::TimedOut { address, stage: Stage::Connect, timeout: SHORT }
    );
    assert_eq!(named(libc::ECONNRESET), ProbeError::Closed { address, how: Close::Reset });
    assert!(matches!(named(libc::EIO), ProbeError::Io { .. }));
    for errno in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT, libc::ECONNRESET, libc::EIO] {
        assert!(!named(errno).is_inconclusive());
    }
}
