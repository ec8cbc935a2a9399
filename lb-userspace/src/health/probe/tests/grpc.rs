//! gRPC probes against a health service of the test's own.

use hyper::{HeaderMap, Response};

use super::http2::{Body, Seen, endless, h2_server, whole};
use super::pki::Authority;
use super::*;
use crate::model::{GrpcCheck, TlsCheck};

const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

fn grpc(service: &str, timeout: Duration) -> Check {
    check(CheckKind::Grpc(GrpcCheck { service: service.to_owned(), tls: None }), timeout)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn respond(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc+proto").body(body).unwrap()
}

fn ended(message: &[u8], trailers: &[(&'static str, &str)]) -> Response<Body> {
    respond(whole(message, Some(headers(trailers))))
}

/// What the probe says of a server that answers so; its address is left out.
async fn outcome(answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static) -> Result<(), String> {
    let (address, ended) = h2_server(None, answer).await;
    let result = probe(address, &grpc("shop.Cart", AMPLE)).await;
    ended.await.unwrap();
    result.map(|_| ()).map_err(|error| {
        assert!(!error.is_inconclusive());
        error.to_string().strip_prefix(&format!("{address} ")).unwrap().to_owned()
    })
}

#[tokio::test]
async fn serving_is_good_and_the_call_is_as_the_protocol_says() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let good = outcome(move |request| {
        seen.send(request).unwrap();
        ended(SERVING, &[("grpc-status", "0")])
    });
    assert_eq!(good.await, Ok(()));
    let request = requests.recv().await.unwrap();
    assert_eq!(request.head.method, "POST");
    assert_eq!(request.head.uri.path(), "/grpc.health.v1.Health/Check");
    for (name, value) in
        [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "lbd-check")]
    {
        assert_eq!(request.head.headers[name], value);
    }
    let timeout = request.head.headers["grpc-timeout"].to_str().unwrap();
    let timeout_ms: u128 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=AMPLE.as_millis()).contains(&timeout_ms), "{timeout}");
    assert_eq!(&request.body[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
}

#[tokio::test]
async fn with_tls_its_certificate_and_name_are_used() {
    let authority = Authority::new("one");
    let acceptor = authority.server(&["cart.example"], (2020, 2100)).speaking("h2").acceptor();
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let (address, _) = h2_server(Some(acceptor), move |request| {
        seen.send(request.head.uri).unwrap();
        ended(SERVING, &[("grpc-status", "0")])
    })
    .await;
    let tls = TlsCheck { server_name: Some("cart.example".to_owned()), ..authority.check() };
    let check = check(CheckKind::Grpc(GrpcCheck { service: String::new(), tls: Some(tls) }), AMPLE);
    let answer = Prober::new(address, Arc::new(check)).probe().await.unwrap();
    let expires = humantime::parse_rfc3339("2100-01-01T00:00:00Z").unwrap();
    assert_eq!(answer.findings.certificate_expires, Some(expires));
    let uri = requests.recv().await.unwrap().to_string();
    assert_eq!(uri, "https://cart.example/grpc.health.v1.Health/Check");
}

#[tokio::test]
async fn what_does_not_serve_is_told_in_the_services_words() {
    for (status, wanted) in [
        (0, "says: UNKNOWN (its health is not set yet)"),
        (2, "says: NOT_SERVING"),
        (3, "says: SERVICE_UNKNOWN"),
        (7, "says: serving status 7, which is not known"),
    ] {
        let bad = outcome(move |_| ended(&[0, 0, 0, 0, 2, 8, status], &[("grpc-status", "0")]));
        assert_eq!(bad.await, Err(wanted.to_owned()));
    }
}

#[tokio::test]
async fn calls_that_fail_are_told_with_their_code() {
    let not_found =
        "says: NOT_FOUND: unknown service (its health service does not know the service \"shop.Cart\")";
    let status = &[("grpc-status", "5"), ("grpc-message", "unknown%20service")];
    assert_eq!(outcome(|_| ended(b"", status)).await, Err(not_found.to_owned()));

    // All in the head, and no body.
    let only_head = |code: &'static str| {
        move |_| {
            let mut response = respond(whole(b"", None));
            response.headers_mut().extend(headers(&[("grpc-status", code)]));
            response
        }
    };
    let unimplemented =
        "says: UNIMPLEMENTED (the server has no health service: register grpc.health.v1.Health there)";
    assert_eq!(outcome(only_head("12")).await, Err(unimplemented.to_owned()));

    // After the message: a call that failed says nothing good.
    let late = outcome(|_| ended(SERVING, &[("grpc-status", "14")]));
    assert_eq!(late.await, Err("says: UNAVAILABLE".to_owned()));
}

#[tokio::test]
async fn answers_that_are_not_grpc_are_named_so() {
    let malformed = |detail: &str| {
        Err(format!("gave a malformed answer: {detail} (does another protocol, such as TLS, run there?)"))
    };
    let page = outcome(|_| {
        Response::builder().header("content-type", "text/html").body(whole(b"<p>", None)).unwrap()
    });
    assert_eq!(page.await, malformed("its content type is \"text/html\", not application/grpc"));
    let proxy = outcome(|_| Response::builder().status(502).body(whole(b"", None)).unwrap());
    assert_eq!(proxy.await, Err("says: HTTP status 502 instead of a gRPC answer".to_owned()));
    assert_eq!(outcome(|_| respond(whole(SERVING, None))).await, malformed("it ends without a grpc-status"));
    let ok = &[("grpc-status", "0")];
    let garbage = outcome(|_| ended(b"garbage", ok)).await;
    assert_eq!(
        garbage,
        malformed("a gRPC message that is compressed, though the probe did not say that it may be")
    );
    let empty = malformed("a gRPC message of 0 bytes, which has at least 5");
    assert_eq!(outcome(|_| ended(b"", ok)).await, empty);
    let large = outcome(|_| respond(whole(&vec![0; 64 << 10], None))).await;
    assert_eq!(large, malformed("it has 65536 bytes or more"));
}

#[tokio::test]
async fn a_call_that_never_ends_times_out_and_closes() {
    let (address, ended) = h2_server(None, |_| respond(endless(SERVING))).await;
    let error = probe(address, &grpc("", SHORT)).await.unwrap_err();
    assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT });
    ended.await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_refused() {
    let (_held, address) = refusing();
    assert_eq!(probe(address, &grpc("", AMPLE)).await, Err(ProbeError::Refused { address }));
}
