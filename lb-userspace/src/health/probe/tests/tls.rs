//! HTTPS probes: certificates, names and what is negotiated.

use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;

use super::pki::{Authority, unverified};
use super::*;
use crate::health::finding::Answer;
use crate::model::{HttpVersion, TlsCheck};

const GOOD_YEARS: (i32, i32) = (2020, 2100);

/// Answers one request with status 200 over TLS; gives the name that the client asked for.
async fn https(acceptor: TlsAcceptor) -> (SocketAddr, oneshot::Receiver<Option<String>>) {
    server(async move |stream| {
        let mut stream = acceptor.accept(stream).await.ok()?;
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok()?;
        name
    })
    .await
}

fn of(tls: TlsCheck, host: Option<&str>) -> HttpCheck {
    HttpCheck { tls: Some(tls), host: host.map(str::to_owned), ..HttpCheck::default() }
}

async fn ask(address: SocketAddr, http: HttpCheck) -> Result<Answer, ProbeError> {
    Prober::new(address, Arc::new(check(CheckKind::Http(http), AMPLE))).probe().await
}

/// What the probe says was wrong with TLS.
async fn detail(address: SocketAddr, http: HttpCheck) -> String {
    match ask(address, http).await {
        Err(error @ ProbeError::Tls { .. }) => {
            assert!(!error.is_inconclusive());
            error.to_string().strip_prefix(&format!("{address}: TLS failed: ")).unwrap().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

#[tokio::test]
async fn a_good_certificate_is_good_and_its_end_is_reported() {
    let authority = Authority::new("one");
    let acceptor = authority.server(&["www.example"], GOOD_YEARS).acceptor();
    let (address, name) = https(acceptor).await;
    let answer = ask(address, of(authority.check(), Some("www.example:8443"))).await.unwrap();
    assert_eq!(answer.findings.certificate_expires, Some(at("2100-01-01T00:00:00Z")));
    assert_eq!(name.await.unwrap().as_deref(), Some("www.example"), "without the port");
}

#[tokio::test]
async fn the_checks_own_name_goes_before_its_host() {
    let authority = Authority::new("one");
    let (address, name) = https(authority.server(&["inner.example"], GOOD_YEARS).acceptor()).await;
    let tls = TlsCheck { server_name: Some("inner.example".to_owned()), ..authority.check() };
    ask(address, of(tls, Some("www.example"))).await.unwrap();
    assert_eq!(name.await.unwrap().as_deref(), Some("inner.example"));
}

#[tokio::test]
async fn an_address_is_looked_for_in_the_certificate_and_not_sent() {
    let authority = Authority::new("one");
    let (address, name) = https(authority.server(&["127.0.0.1"], GOOD_YEARS).acceptor()).await;
    ask(address, of(authority.check(), None)).await.unwrap();
    assert_eq!(name.await.unwrap(), None);
}

#[tokio::test]
async fn certificates_that_are_not_good_are_named_with_what_to_do() {
    let authority = Authority::new("one");
    let host = Some("www.example");
    for (names, years, wanted) in [
        (&["www.example"][..], (2020, 2021), "its certificate expired at 2021-01-01T00:00:00Z (renew it)"),
        (
            &["www.example"],
            (2090, 2100),
            "its certificate is not valid before 2090-01-01T00:00:00Z (are the clocks right?)",
        ),
        (
            &["*.example.net", "192.0.2.1"],
            GOOD_YEARS,
            "its certificate is not for www.example but for *.example.net, 192.0.2.1 (set `server_name`)",
        ),
        (&[], GOOD_YEARS, "its certificate is not for www.example but for no name (set `server_name`)"),
        (
            &["a.net", "b.net", "c.net", "d.net", "e.net", "f.net"],
            GOOD_YEARS,
            "its certificate is not for www.example but for a.net, b.net, c.net, d.net, e.net, others (set `server_name`)",
        ),
    ] {
        let (address, _) = https(authority.server(names, years).acceptor()).await;
        assert_eq!(detail(address, of(authority.check(), host)).await, wanted);
    }

    let good = || authority.server(&["www.example"], GOOD_YEARS).acceptor();
    let (address, _) = https(good()).await;
    let other = Authority::new("other");
    let wanted =
        "its certificate is signed by nobody that this node knows (name the authority's PEM file with `ca`)";
    assert_eq!(detail(address, of(other.check(), host)).await, wanted);
    let (address, _) = https(good()).await;
    let namesake = Authority::new("one");
    let wanted = "its certificate was not signed with the authority's key (is the file of `ca` an old one?)";
    assert_eq!(detail(address, of(namesake.check(), host)).await, wanted);
    let (address, _) = https(authority.as_server().acceptor()).await;
    let wanted = "its certificate is that of an authority (give the server one of its own, with CA:FALSE)";
    assert_eq!(detail(address, of(authority.check(), host)).await, wanted);
}

/// Whether the machine of the test knows authorities is not the test's to say.
#[tokio::test]
async fn without_a_file_the_systems_authorities_decide() {
    let known = !rustls_native_certs::load_native_certs().certs.is_empty();
    let (address, _) = https(Authority::new("one").server(&["www.example"], GOOD_YEARS).acceptor()).await;
    let error = ask(address, of(unverified(true), Some("www.example"))).await.unwrap_err();
    assert_eq!(error.is_inconclusive(), !known, "{error}");
    let wanted = if known { "signed by nobody that this node knows" } else { "install ca-certificates" };
    assert!(error.to_string().contains(wanted), "{error}");
}

#[tokio::test]
async fn without_verification_anything_is_good_and_its_end_is_reported() {
    let authority = Authority::new("one");
    for (server, expires) in [
        (authority.server(&["else.example"], (2020, 2021)), "2021-01-01T00:00:00Z"),
        (authority.as_server(), "4096-01-01T00:00:00Z"),
    ] {
        let (address, _) = https(server.acceptor()).await;
        let answer = ask(address, of(unverified(false), Some("www.example"))).await.unwrap();
        assert_eq!(answer.findings.certificate_expires, Some(at(expires)));
    }
}

#[tokio::test]
async fn servers_that_do_not_speak_tls_are_named_so() {
    let (address, _) = server(async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_u8().await
    })
    .await;
    let wanted = "the server does not speak TLS (is this the right port?)";
    assert_eq!(detail(address, of(unverified(false), None)).await, wanted);

    let (address, _) = server(async |mut stream: TcpStream| {
        let mut hello = [0; 1024];
        let _ = stream.read(&mut hello).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_u8().await
    })
    .await;
    let error = ask(address, of(unverified(false), None)).await.unwrap_err();
    assert_eq!(error, ProbeError::Closed { address, how: Close::InOrder });
}

#[tokio::test]
async fn a_handshake_that_is_not_answered_times_out() {
    let (address, outcome) = server(async |mut stream: TcpStream| {
        let mut byte = [0];
        while stream.read(&mut byte).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    let http = of(unverified(false), None);
    let error = probe(address, &check(CheckKind::Http(http), SHORT)).await.unwrap_err();
    assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Tls, timeout: SHORT });
    assert_eq!(error.to_string(), format!("{address}: no end of the TLS handshake within 100ms"));
    assert!(outcome.await.unwrap().is_err(), "the connection goes with the probe");
}

#[tokio::test]
async fn the_version_of_http_is_negotiated() {
    let authority = Authority::new("one");
    let speaking = |protocol| authority.server(&["127.0.0.1"], GOOD_YEARS).speaking(protocol).acceptor();
    let http1 = || of(authority.check(), None);
    let http2 = || HttpCheck { version: HttpVersion::Http2, ..http1() };

    let (address, _) = https(speaking("http/1.1")).await;
    ask(address, http1()).await.unwrap();

    let wanted =
        "the server does not speak the check's version of HTTP (change `version`, or turn it on there)";
    let (address, _) = https(speaking("h2")).await;
    assert_eq!(detail(address, http1()).await, wanted);
    let (address, _) = https(speaking("http/1.1")).await;
    assert_eq!(detail(address, http2()).await, wanted);

    let (address, _) = https(authority.server(&["127.0.0.1"], GOOD_YEARS).acceptor()).await;
    let wanted =
        "the server did not choose HTTP/2 (turn it on there, or use version = \"1.1\" for an https check)";
    assert_eq!(detail(address, http2()).await, wanted);
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_its_clients_is_told_of() {
    let authority = Authority::new("one");
    let acceptor = authority.server(&["127.0.0.1"], GOOD_YEARS).wanting_certificates(&authority).acceptor();
    // Its refusal comes after the client's side of the handshake; it must not be overtaken by a reset.
    let (address, _) = server(async move |stream| {
        let (_, mut stream) = acceptor.accept(stream).into_fallible().await.err()?;
        stream.read_to_end(&mut Vec::new()).await.ok()
    })
    .await;
    let wanted =
        "the server wants a certificate of its client, which checks do not have (let it in without one)";
    assert_eq!(detail(address, of(authority.check(), None)).await, wanted);
}

#[tokio::test]
async fn what_the_node_lacks_is_inconclusive_and_nobody_is_asked() {
    let (_held, address) = refusing();
    let missing = TlsCheck { ca: Some("/nonexistent/ca.pem".into()), ..unverified(true) };
    for (tls, host, wanted) in [
        (
            missing,
            "www.example",
            "the authorities in /nonexistent/ca.pem cannot be read: No such file or directory (os error 2) (correct `ca`, or \
             let lbd read the file)",
        ),
        (
            unverified(false),
            "a*b",
            "\"a*b\" is neither a DNS name nor an address (correct `server_name` or `host`)",
        ),
    ] {
        let error = ask(address, of(tls, Some(host))).await.unwrap_err();
        assert!(error.is_inconclusive());
        assert_eq!(error.to_string(), format!("{address} was not asked: {wanted}"));
    }
}
