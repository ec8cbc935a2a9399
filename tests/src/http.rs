//! A small HTTP/1.1 client: one request on a fresh connection, from a chosen source address.
//!
//! Meant for checks through the load balancer inside `Host::enter`, where every request must be a flow of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// Header in which our server names itself.
pub const BACKEND_HEADER: &str = "X-Backend";

/// Header fields that a response may have.
const MAX_HEADERS: usize = 64;

/// Longest head of a response, in bytes.
const MAX_HEAD_LEN: usize = 16 << 10;

/// Longest body read, in bytes.
const MAX_BODY_LEN: usize = 256 << 20;

/// Bytes read at once.
const READ_LEN: usize = 16 << 10;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Value of [`BACKEND_HEADER`]: which server answered.
    pub backend: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Our address on the connection.
    pub local: SocketAddr,
    /// From before the connection was opened to the end of the body.
    pub elapsed: Duration,
}

/// Sends `GET path` to `server` on a connection of its own, from the address `source` (port 0: any port), and reads
/// the whole response. `timeout` is for all of it.
///
/// # Errors
/// When the connection can not be made or breaks, when time is up, or when the answer is not HTTP. The chain holds the
/// `std::io::Error`, if there is one.
pub fn get(
    server: SocketAddr,
    path: &str,
    source: Option<SocketAddr>,
    timeout: Duration,
) -> Result<Response> {
    let start = Instant::now();
    let deadline = start + timeout;
    exchange(server, path, source, start, deadline).with_context(|| format!("GET http://{server}{path}"))
}

fn exchange(
    server: SocketAddr,
    path: &str,
    source: Option<SocketAddr>,
    start: Instant,
    deadline: Instant,
) -> Result<Response> {
    let mut stream = connect(server, source, deadline)?;
    let local = stream.local_addr()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request.as_bytes()).context("sending the request")?;
    let mut received = Vec::new();
    let head = loop {
        if let Some(head) = parse_head(&received)? {
            break head;
        }
        ensure!(received.len() < MAX_HEAD_LEN, "the response's head is longer than {MAX_HEAD_LEN} bytes");
        if read_more(&mut stream, &mut received, deadline)? == 0 {
            return Err(ended()).context("the connection ended before the response");
        }
    };
    let mut body = received.split_off(head.len);
    while body.len() < head.body_len {
        if read_more(&mut stream, &mut body, deadline)? == 0 {
            let place = format!("the connection ended after {} of {} body bytes", body.len(), head.body_len);
            return Err(ended()).context(place);
        }
    }
    ensure!(body.len() == head.body_len, "{} bytes after the body", body.len() - head.body_len);
    Ok(Response { status: head.status, backend: head.backend, body, local, elapsed: start.elapsed() })
}

fn connect(server: SocketAddr, source: Option<SocketAddr>, deadline: Instant) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&source.into()).with_context(|| format!("binding to {source}"))?;
    }
    socket.connect_timeout(&server.into(), left(deadline)?).context("connecting")?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// What a complete head says.
struct Head {
    len: usize,
    status: u16,
    backend: Option<String>,
    body_len: usize,
}

/// The head at the start of what was received; `None` while it is not complete.
fn parse_head(received: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(received).context("the answer is not HTTP")? else {
        return Ok(None);
    };
    let value = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(field.value).into_owned())
    };
    let Some(body_len) = value("Content-Length") else {
        bail!("the response has no Content-Length");
    };
    let body_len = body_len.trim().parse().with_context(|| format!("Content-Length {body_len:?}"))?;
    ensure!(body_len <= MAX_BODY_LEN, "the body has {body_len} bytes; {MAX_BODY_LEN} are read at most");
    let status = response.code.context("a response without a status")?;
    Ok(Some(Head { len, status, backend: value(BACKEND_HEADER), body_len }))
}

/// Appends what one read gives; 0 at the end of the connection.
fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>, deadline: Instant) -> Result<usize> {
    stream.set_read_timeout(Some(left(deadline)?))?;
    let mut chunk = [0; READ_LEN];
    let len = stream.read(&mut chunk).context("reading the response")?;
    received.extend_from_slice(chunk.get(..len).unwrap_or_default());
    Ok(len)
}

/// The end of a connection in the wrong place, as an error that callers can tell from others.
fn ended() -> std::io::Error {
    std::io::ErrorKind::UnexpectedEof.into()
}

fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), std::io::Error::from(std::io::ErrorKind::TimedOut));
    Ok(left)
}
