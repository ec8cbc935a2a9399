//! Bodies that a check looks at, and headers of its own.

use super::http2::{endless, h2_server, whole};
use super::*;
use crate::model::{BodyPattern, HttpVersion};

fn of(pattern: &str) -> HttpCheck {
    let pattern = BodyPattern(regex::bytes::Regex::new(pattern).unwrap());
    HttpCheck { expect_body: Some(pattern), ..HttpCheck::default() }
}

fn looking_for(pattern: &str, timeout: Duration) -> Check {
    check(CheckKind::Http(of(pattern)), timeout)
}

/// The same with HTTP/2.
fn http2(pattern: &str, timeout: Duration) -> Check {
    check(CheckKind::Http(HttpCheck { version: HttpVersion::Http2, ..of(pattern) }), timeout)
}

#[tokio::test]
async fn a_body_matches_or_does_not() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstatus: ok";
    for pattern in ["status: ok", "^status", "ok$"] {
        probe(answering(page).await, &looking_for(pattern, AMPLE)).await.unwrap();
    }
    let address = answering(page).await;
    let error = probe(address, &looking_for("^ok", AMPLE)).await.unwrap_err();
    let wanted = format!("{address}: the first 10 bytes of the body do not match \"^ok\"");
    assert_eq!(error.to_string(), wanted);
    assert!(!error.is_inconclusive());
}

#[tokio::test]
async fn a_body_matches_over_http2() {
    let page = || h2_server(None, |_| hyper::Response::new(whole(b"status: ok", None)));
    probe(page().await.0, &http2("ok$", AMPLE)).await.unwrap();
    let error = probe(page().await.0, &http2("^ok", AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Body { read_bytes: 10, .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n8\r\n is over\r\n0\r\n\r\n";
    probe(answering(chunked).await, &looking_for("^ok is over$", AMPLE)).await.unwrap();
    let error = probe(answering(chunked).await, &looking_for("^ok$", AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Body { .. }), "{error:?}");
    let until_closed = b"HTTP/1.1 200 OK\r\n\r\nok";
    probe(answering(until_closed).await, &looking_for("^ok$", AMPLE)).await.unwrap();
}

#[tokio::test]
async fn a_body_is_looked_at_up_to_the_limit() {
    let page = |at: usize| async move {
        let (address, _) = server(async move |stream: TcpStream| {
            let mut body = vec![b'x'; at];
            body.extend_from_slice(b"END");
            let head = [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat();
            pour(stream, &head, &[b'x'; 4096]).await
        })
        .await;
        address
    };
    probe(page((64 << 10) - 3).await, &looking_for("END", AMPLE)).await.unwrap();
    let error = probe(page((64 << 10) - 2).await, &looking_for("END", AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Body { read_bytes: 65_536, .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_that_ends_early_is_named_so() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstatus: ok"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nstatus: ok\r\n",
    ] {
        let address = answering(answer).await;
        let error = probe(address, &looking_for("ok", AMPLE)).await.unwrap_err();
        let wanted = format!("{address} closed the connection before a whole answer (end of stream)");
        assert_eq!(error.to_string(), wanted);
    }
    let address = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n").await;
    let error = probe(address, &looking_for("ok", AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_that_is_late_is_named_so() {
    let (address, _) = server(async |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok").await.unwrap();
        stream.read_u8().await
    })
    .await;
    let error = probe(address, &looking_for("ok", SHORT)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: no end of the answer's body within 100ms"));

    let (address, ended) = h2_server(None, |_| hyper::Response::new(endless(b"ok"))).await;
    let error = probe(address, &http2("ok", SHORT)).await.unwrap_err();
    assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Body, timeout: SHORT });
    ended.await.unwrap();
}

#[tokio::test]
async fn the_latency_is_that_of_the_match() {
    let (head_is_out, wait_for_head) = oneshot::channel();
    let (address, _) = server(async move |mut stream| {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await.unwrap();
        head_is_out.send(Instant::now()).unwrap();
        stream.write_all(b"ok").await.unwrap();
    })
    .await;
    let start = Instant::now();
    let latency = probe(address, &looking_for("ok", AMPLE)).await.unwrap();
    let head_took = wait_for_head.await.unwrap() - start;
    assert!(latency + Duration::from_millis(1) > head_took, "{latency:?} is less than {head_took:?}");
}

#[tokio::test]
async fn headers_of_the_check_are_sent_and_go_before_ours() {
    let (address, request) = server(async |mut stream| {
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        request
    })
    .await;
    let headers = [("X-Check", "1"), ("user-agent", "own"), ("Authorization", "Basic eDp5")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let kind = CheckKind::Http(HttpCheck { headers, ..HttpCheck::default() });
    probe(address, &check(kind, AMPLE)).await.unwrap();
    let request = request.await.unwrap();
    let lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    for expected in ["x-check: 1", "user-agent: own", "authorization: Basic eDp5", "accept: */*"] {
        assert_eq!(lines.iter().filter(|line| **line == expected).count(), 1, "{expected:?} in {lines:?}");
    }
    assert!(!request.contains("lbd-check"), "{request}");
}
