//! HTTP/2 probes, and a server for them.

use std::convert::Infallible;

use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;

use super::pki::Authority;
use super::*;
use crate::health::probe::tls::Wire;
use crate::model::HttpVersion;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that is there at once, and trailers.
pub(super) fn whole(bytes: &[u8], trailers: Option<HeaderMap>) -> Body {
    let body = Full::new(Bytes::copy_from_slice(bytes));
    match trailers {
        Some(trailers) => body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync(),
        None => body.boxed_unsync(),
    }
}

/// A body that never ends after these bytes.
pub(super) fn endless(bytes: &'static [u8]) -> Body {
    let first = stream::once(async move { Ok(Frame::data(Bytes::from_static(bytes))) });
    StreamBody::new(first.chain(stream::pending())).boxed_unsync()
}

/// A request as the server saw it, with its whole body.
pub(super) struct Seen {
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

/// Answers every request of one connection with what `answer` makes of it, until the connection ends.
pub(super) async fn h2_server(
    acceptor: Option<TlsAcceptor>,
    answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
) -> (SocketAddr, oneshot::Receiver<()>) {
    server(async move |stream| {
        let wire: Box<dyn Wire> = match acceptor {
            Some(acceptor) => Box::new(acceptor.accept(stream).await.unwrap()),
            None => Box::new(stream),
        };
        let answer = Arc::new(answer);
        let serve = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok::<_, hyper::Error>(answer(Seen { head, body }))
            }
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _how_it_ended = builder.serve_connection(TokioIo::new(wire), serve).await;
    })
    .await
}

fn of() -> HttpCheck {
    HttpCheck { version: HttpVersion::Http2, path: "/healthz?deep=1".to_owned(), ..HttpCheck::default() }
}

fn http2(timeout: Duration) -> Check {
    check(CheckKind::Http(of()), timeout)
}

#[tokio::test]
async fn the_request_is_as_the_check_says() {
    for (host, with_tls) in [(None, false), (Some("www.example:8443"), false), (Some("www.example"), true)] {
        let authority = Authority::new("one");
        let acceptor = authority.server(&["www.example"], (2020, 2100)).speaking("h2").acceptor();
        let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let (address, ended) = h2_server(with_tls.then_some(acceptor), move |request| {
            seen.send(request.head).unwrap();
            Response::new(whole(b"ok", None))
        })
        .await;
        let kind = HttpCheck {
            host: host.map(str::to_owned),
            headers: vec![
                ("X-Check".to_owned(), "1".to_owned()),
                ("User-Agent".to_owned(), "own".to_owned()),
            ],
            tls: with_tls.then(|| authority.check()),
            ..of()
        };
        let check = check(CheckKind::Http(kind), AMPLE);
        let answer = Prober::new(address, Arc::new(check)).probe().await.unwrap();
        assert_eq!(answer.findings.certificate_expires.is_some(), with_tls);
        ended.await.unwrap();

        let head = requests.recv().await.unwrap();
        assert_eq!((head.version, head.method.as_str()), (Version::HTTP_2, "GET"));
        let authority = host.map_or_else(|| address.to_string(), str::to_owned);
        let scheme = if with_tls { "https" } else { "http" };
        assert_eq!(head.uri.to_string(), format!("{scheme}://{authority}/healthz?deep=1"));
        assert_eq!(head.headers["x-check"], "1");
        assert_eq!(head.headers.get_all("user-agent").iter().collect::<Vec<_>>(), ["own"]);
        assert!(requests.recv().await.is_none(), "one request a connection");
    }
}

#[tokio::test]
async fn the_status_is_judged() {
    let (address, _) = h2_server(None, |_| {
        let mut response = Response::new(whole(b"", None));
        *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address} answered with status 503; the check accepts 200-399"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_good_at_the_timeout() {
    let (address, ended) = h2_server(None, |_| Response::new(endless(b"half"))).await;
    let (start, timeout) = (Instant::now(), SHORT * 10);
    let latency = probe(address, &http2(timeout)).await.unwrap();
    assert!(start.elapsed() >= timeout && latency < timeout, "the latency is that of the head");
    ended.await.unwrap();
}

#[tokio::test]
async fn servers_that_do_not_speak_http2_are_named_so() {
    // nginx without HTTP/2, and a server that greets.
    for greeting in
        [&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], b"220 mail.example.org ESMTP\r\n"]
    {
        let (address, _) = server(async move |mut stream: TcpStream| {
            stream.write_all(greeting).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let error = probe(address, &http2(AMPLE)).await.unwrap_err();
        let wanted = format!(
            "{address} gave a malformed answer: it is not HTTP/2: FRAME_SIZE_ERROR (does another protocol, such as TLS, run \
             there?)"
        );
        assert_eq!(error.to_string(), wanted);
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_named_so() {
    let (address, _) = server(async |mut stream: TcpStream| {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    assert_eq!(error, ProbeError::Closed { address, how: Close::Reset });

    let (address, _) = server(async |mut stream: TcpStream| {
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    assert!(matches!(error, ProbeError::Closed { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_of_the_server_are_its_own_words() {
    let (address, _) = server(async |stream| {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
        while connection.accept().await.is_some() {}
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    let wanted = format!("{address} says: the HTTP/2 request is over: ENHANCE_YOUR_CALM");
    assert_eq!(error.to_string(), wanted);

    // By hand: the library closes at once, with a reset that may overtake its words.
    let (address, _) = server(async |mut stream: TcpStream| {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12];
        stream.write_all(&[&settings[..], &goaway[..]].concat()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    let wanted = format!("{address} says: the HTTP/2 connection is over: INADEQUATE_SECURITY");
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn a_head_over_the_limit_is_named_so() {
    let (address, _) = h2_server(None, |_| {
        let mut response = Response::new(whole(b"", None));
        response.headers_mut().insert("x-large", "x".repeat(17 * 1024).parse().unwrap());
        response
    })
    .await;
    let error = probe(address, &http2(AMPLE)).await.unwrap_err();
    let wanted = format!(
        "{address} gave a malformed answer: an HTTP/2 answer that breaks the rules, or has a head of more than 16384 bytes: \
         PROTOCOL_ERROR (does another protocol, such as TLS, run there?)"
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn never_answered_times_out_and_closes() {
    let (address, outcome) = server(async |mut stream: TcpStream| {
        let mut bytes = [0; 1024];
        while stream.read(&mut bytes).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    let error = probe(address, &http2(SHORT)).await.unwrap_err();
    assert_eq!(error, ProbeError::TimedOut { address, stage: Stage::Answer, timeout: SHORT });
    assert_eq!(outcome.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nothing_outlives_a_probe_that_is_dropped() {
    let (asked, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let (address, mut ended) = h2_server(None, move |_| {
        asked.send(()).unwrap();
        Response::new(endless(b""))
    })
    .await;
    let mut prober = Prober::new(address, Arc::new(http2(AMPLE)));
    let mut probe = Box::pin(prober.probe());
    tokio::select! {
        outcome = &mut probe => panic!("{outcome:?}"),
        Some(()) = requests.recv() => {}
    }
    assert!(ended.try_recv().is_err(), "the connection is there");
    drop(probe);
    ended.await.unwrap();
}

#[tokio::test]
async fn a_probe_starts_no_task() {
    let (asked, wait_for_request) = oneshot::channel();
    let (address, ended) = server(async move |mut stream: TcpStream| {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        asked.send(()).unwrap();
        while stream.read(&mut preface).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut prober = Prober::new(address, Arc::new(http2(AMPLE)));
    let mut probe = Box::pin(prober.probe());
    tokio::select! {
        outcome = &mut probe => panic!("{outcome:?}"),
        _ = wait_for_request => {}
    }
    assert_eq!(tasks(), before, "what moves the bytes is part of the probe");
    drop(probe);
    assert!(ended.await.unwrap().is_err());
}
