//! `udp`, `dns` and `grpc` against servers that speak them.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lb_tests::lab::Host;
use lb_tests::site::Web;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, ResourceRecord};

use super::plan::{check, node, served};
use crate::bed::Bed;

const DNS_PORT: u16 = 53;
const GRPC_PORT: u16 = 50_051;
const NAME: &str = "www.example.net";

/// Longest time that a server takes to notice that it is over.
const SLICE: Duration = Duration::from_millis(100);

/// `SERVING` and `NOT_SERVING` of grpc.health.v1.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// A server in a thread; ended when dropped.
struct Running {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    fn start(work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) -> Self {
        let stopped = Arc::<AtomicBool>::default();
        let own = Arc::clone(&stopped);
        Self { stopped, thread: Some(thread::spawn(move || work(&own))) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(ended) = self.thread.take().map(JoinHandle::join)
            && !matches!(ended, Ok(Ok(())))
        {
            eprintln!("a server of the test failed: {ended:?}");
        }
    }
}

/// A DNS server that knows the address of [`NAME`].
fn dns_server(host: &Host) -> Result<Running> {
    let socket = host.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS_PORT)))??;
    socket.set_read_timeout(Some(SLICE))?;
    Ok(Running::start(move |stopped| {
        let mut message = [0; 512];
        while !stopped.load(Ordering::SeqCst) {
            let Ok((len, client)) = socket.recv_from(&mut message) else { continue };
            socket.send_to(&dns_answer(&message[..len])?, client)?;
        }
        Ok(())
    }))
}

fn dns_answer(message: &[u8]) -> Result<Vec<u8>> {
    let query = Packet::parse(message)?;
    let mut answer = Packet::new_reply(query.id());
    answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let question = query.questions.first().context("no question")?;
    if question.qname.to_string() == NAME {
        let address = RData::A(A { address: Ipv4Addr::new(192, 0, 2, 1).into() });
        answer.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, address));
    }
    answer.questions.push(question.clone());
    Ok(answer.build_bytes_vec()?)
}

/// A health service of gRPC that says `status` of everything.
fn grpc_server(host: &Host, status: Arc<AtomicU8>) -> Result<Running> {
    let listener = host.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, GRPC_PORT)))??;
    listener.set_nonblocking(true)?;
    Ok(Running::start(move |stopped| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            while !stopped.load(Ordering::SeqCst) {
                let Ok(accepted) = tokio::time::timeout(SLICE, listener.accept()).await else { continue };
                let (stream, status) = (accepted?.0, Arc::clone(&status));
                tokio::spawn(async move {
                    let serve = service_fn(|request| grpc_answer(request, status.load(Ordering::SeqCst)));
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    // How it ends is the client's business.
                    connection.serve_connection(TokioIo::new(stream), serve).await.ok();
                });
            }
            Ok(())
        })
    }))
}

async fn grpc_answer(
    request: Request<Incoming>,
    status: u8,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>> {
    let is_check = request.uri().path() == "/grpc.health.v1.Health/Check";
    request.into_body().collect().await.map_err(|error| anyhow!(error))?;
    let mut trailers = HeaderMap::new();
    // 12 is UNIMPLEMENTED.
    trailers.insert("grpc-status", if is_check { "0" } else { "12" }.parse()?);
    // Not compressed, two bytes: field 1, a number.
    let body = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
}

fn plan(bed: &Bed) -> Result<String> {
    let times = "interval = \"300ms\"\ntimeout = \"300ms\"\n";
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    let kinds = [
        ("udp", 80, "send = \"who are you?\"\nexpect = \"web1\"".to_owned()),
        ("dns", DNS_PORT, format!("query = \"{NAME}\"")),
        ("grpc", GRPC_PORT, "service = \"shop.Cart\"".to_owned()),
    ];
    let parts = kinds.iter().zip(80..).map(|((kind, port, keys), service_port)| {
        check(kind, &format!("kind = \"{kind}\"\nport = {port}\n{times}{keys}"))
            + &served(kind, service_port, kind, "", &webs)
    });
    let missing = format!("kind = \"dns\"\nport = {DNS_PORT}\n{times}query = \"no.example.net\"");
    Ok(node(bed)?
        + &parts.collect::<String>()
        + &check("missing", &missing)
        + &served("missing", 90, "missing", "", &webs))
}

#[test]
fn udp_dns_and_grpc_servers_are_asked_in_their_own_words() -> Result<()> {
    let mut bed = Bed::shared(2)?;
    let (well, sick) = (Arc::new(AtomicU8::new(SERVING)), Arc::new(AtomicU8::new(NOT_SERVING)));
    let webs = &bed.fleet.webs;
    let dns = dns_server(&webs[0].host)?;
    let _grpc = [grpc_server(&webs[0].host, Arc::clone(&well))?, grpc_server(&webs[1].host, sick)?];
    for web in webs {
        // A host says only once a second that nobody listens, unless it is told otherwise.
        web.host.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    }
    bed.write(&plan(&bed)?)?;
    let _lbd = bed.start()?;
    for pool in ["udp", "dns", "grpc"] {
        bed.wait_well(pool, "web1")?;
        bed.wait_serving(pool, &["web1"])?;
    }
    bed.wait_down("udp", "web2", "without \"web1\"")?;
    bed.wait_down("dns", "web2", "refused")?;
    bed.wait_down("grpc", "web2", "NOT_SERVING")?;
    bed.wait_down("missing", "web1", "no record of type A for \"no.example.net\"")?;

    bed.fleet.webs[0].kill_server()?;
    bed.wait_down("udp", "web1", "refused")?;
    drop(dns);
    bed.wait_down("dns", "web1", "refused")?;
    well.store(NOT_SERVING, Ordering::SeqCst);
    bed.wait_down("grpc", "web1", "NOT_SERVING")?;
    well.store(SERVING, Ordering::SeqCst);
    bed.wait_well("grpc", "web1").map(drop)
}
