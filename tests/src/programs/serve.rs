//! `lb-lab serve`: a small web server that says who it is.
//!
//! HTTP/1.1 with keep-alive, a thread a connection. Always holds: at most [`MAX_CONNECTIONS`] connections are served;
//! further ones wait in the kernel's accept queue. SIGTERM ends it at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::udp;
use crate::http::BACKEND_HEADER;

/// What it prints when every socket listens.
pub const READY: &str = "lb-lab serve: ready";

/// Connections served at once by one listener.
const MAX_CONNECTIONS: usize = 1_024;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4_096;

/// Stack of a connection's thread, in bytes.
const STACK_LEN: usize = 256 << 10;

/// Time without a request after which a connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest head of a request, in bytes.
const MAX_HEAD_LEN: usize = 8 << 10;

/// Header fields that a request may have.
const MAX_HEADERS: usize = 64;

/// Longest body of a request that is read past, in bytes.
const MAX_REQUEST_BODY_LEN: u64 = 64 << 20;

/// Longest body that `/bytes/N` makes, in bytes.
const MAX_BODY_LEN: usize = 256 << 20;

/// Body bytes written at once.
const CHUNK: [u8; 16 << 10] = [b'x'; 16 << 10];

/// Serves until it is ended by a signal.
///
/// # Errors
/// When there is nothing to listen on, or an address is taken or not the host's.
pub fn serve(name: &str, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Result<()> {
    serve_pages(name, tcp, udp, &|_| None)
}

/// A page that is made for a request: status line's end and body.
pub struct Page {
    /// `200 OK` and so on.
    pub status: &'static str,
    /// The body.
    pub body: String,
}

/// What makes pages, by their paths; none for the usual answer.
pub type Pages<'a> = dyn Fn(&str) -> Option<Page> + Sync + 'a;

/// The same with pages of its own.
///
/// # Errors
/// As [`serve`].
pub fn serve_pages(name: &str, tcp: &[SocketAddr], udp: &[SocketAddr], pages: &Pages<'_>) -> Result<()> {
    ensure!(!(tcp.is_empty() && udp.is_empty()), "nothing to serve: give --listen or --udp");
    let listeners = tcp.iter().map(|address| listen(*address)).collect::<Result<Vec<_>>>()?;
    let sockets = udp.iter().map(|address| udp::listen(*address)).collect::<Result<Vec<_>>>()?;
    println!("{READY}");
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| accept_all(listener, name, pages));
        }
        for socket in &sockets {
            scope.spawn(|| {
                loop {
                    report("UDP", udp::answer_one(socket, name));
                }
            });
        }
    });
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    Ok(open().with_context(|| format!("listening on {address}"))?.into())
}

fn report(what: &str, result: Result<()>) {
    if let Err(error) = result {
        eprintln!("{what}: {error:#}");
    }
}

/// Accepts for ever, while there is room.
fn accept_all(listener: &TcpListener, name: &str, pages: &Pages<'_>) {
    let room = Arc::new(Room::default());
    thread::scope(|scope| {
        loop {
            let place = Room::enter(&room);
            let (stream, client) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("accept: {error}");
                    continue;
                }
            };
            let connection = thread::Builder::new().stack_size(STACK_LEN).spawn_scoped(scope, move || {
                let _place = place;
                report(&format!("connection of {client}"), converse(&stream, name, pages));
            });
            report("starting a thread", connection.map(drop).map_err(Into::into));
        }
    });
}

/// Places for connections.
#[derive(Default)]
struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

struct Place(Arc<Room>);

impl Room {
    /// Waits for a place.
    fn enter(room: &Arc<Self>) -> Place {
        let taken = room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= MAX_CONNECTIONS;
        *room.left.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner) += 1;
        Place(Arc::clone(room))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// What matters of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    head_len: usize,
    is_head: bool,
    is_known_method: bool,
    path: String,
    body_len: u64,
    keep_alive: bool,
}

/// Answers the requests of one connection.
fn converse(stream: &TcpStream, name: &str, pages: &Pages<'_>) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    let mut reader = BufReader::with_capacity(MAX_HEAD_LEN, stream);
    loop {
        let Some(request) = read_request(&mut reader)? else { return Ok(()) };
        let skipped = std::io::copy(&mut (&mut reader).take(request.body_len), &mut std::io::sink())?;
        ensure!(skipped == request.body_len, "the connection ended within a request's body");
        answer(stream, &request, name, pages(&request.path))?;
        if !request.keep_alive {
            return Ok(());
        }
    }
}

/// The next request; `None` when the client closes, resets or says nothing for too long.
fn read_request(reader: &mut BufReader<&TcpStream>) -> Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let Ok(chunk) = reader.fill_buf() else { return Ok(None) };
        if chunk.is_empty() {
            return Ok(None);
        }
        let (before, len) = (head.len(), chunk.len());
        head.extend_from_slice(chunk);
        if let Some(request) = parse_request(&head)? {
            reader.consume(request.head_len - before);
            return Ok(Some(request));
        }
        reader.consume(len);
        ensure!(head.len() < MAX_HEAD_LEN, "a request's head is longer than {MAX_HEAD_LEN} bytes");
    }
}

/// The request at the start of what was received; `None` while its head is not complete.
fn parse_request(received: &[u8]) -> Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_len) = request.parse(received)? else { return Ok(None) };
    let value = |name: &str| {
        let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok()
    };
    if value("Transfer-Encoding").is_some() {
        bail!("chunked requests are not understood");
    }
    let body_len = value("Content-Length").map_or(Ok(0), |text| text.trim().parse::<u64>())?;
    ensure!(body_len <= MAX_REQUEST_BODY_LEN, "a request's body has {body_len} bytes");
    // HTTP/1.1 keeps a connection unless told otherwise, HTTP/1.0 the other way round (RFC 9112, section 9.3).
    let keep_alive = match value("Connection") {
        Some(option) if option.eq_ignore_ascii_case("close") => false,
        Some(option) if option.eq_ignore_ascii_case("keep-alive") => true,
        _ => request.version == Some(1),
    };
    Ok(Some(Request {
        head_len,
        is_head: request.method == Some("HEAD"),
        is_known_method: matches!(request.method, Some("GET" | "HEAD" | "POST")),
        path: request.path.unwrap_or("/").to_owned(),
        body_len,
        keep_alive,
    }))
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// 200 and our name.
    Name,
    /// 200 and so many bytes.
    Bytes(usize),
    /// This status, and the page or our name.
    Short(&'static str),
}

impl Answer {
    fn to(request: &Request) -> Self {
        if !request.is_known_method {
            return Self::Short("405 Method Not Allowed");
        }
        let Some(len) = request.path.strip_prefix("/bytes/") else { return Self::Name };
        match len.parse() {
            Ok(len) if len <= MAX_BODY_LEN => Self::Bytes(len),
            _ => Self::Short("400 Bad Request"),
        }
    }
}

fn answer(mut stream: &TcpStream, request: &Request, name: &str, page: Option<Page>) -> Result<()> {
    let own_body = page.as_ref().map_or_else(|| format!("{name}\n"), |page| page.body.clone());
    let answer = page.map_or_else(|| Answer::to(request), |page| Answer::Short(page.status));
    let (status, body_len) = match answer {
        Answer::Name => ("200 OK", own_body.len()),
        Answer::Bytes(len) => ("200 OK", len),
        Answer::Short(status) => (status, own_body.len()),
    };
    let connection = if request.keep_alive { "keep-alive" } else { "close" };
    let mut message = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {body_len}\r\n{BACKEND_HEADER}: {name}\r\n\
         Connection: {connection}\r\n\r\n"
    );
    let mut filler_len = 0;
    match answer {
        _ if request.is_head => {}
        Answer::Bytes(len) => filler_len = len,
        // One write with the head, so that a small answer is one segment.
        Answer::Name | Answer::Short(_) => message.push_str(&own_body),
    }
    stream.write_all(message.as_bytes())?;
    while filler_len > 0 {
        let chunk = CHUNK.get(..filler_len.min(CHUNK.len())).unwrap_or(&CHUNK);
        stream.write_all(chunk)?;
        filler_len -= chunk.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_only_with_its_empty_line() {
        assert_eq!(parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        let request = parse_request(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(request.head_len, 29);
        assert!(request.is_head && request.keep_alive);
        assert_eq!(request.path, "/x");
    }

    #[test]
    fn http_1_0_closes_unless_asked_to_keep_the_connection() {
        let keep = |text: &[u8]| parse_request(text).unwrap().unwrap().keep_alive;
        assert!(!keep(b"GET / HTTP/1.0\r\n\r\n"));
        assert!(keep(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn a_length_is_taken_from_the_path_within_limits() {
        let answer = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            Answer::to(&parse_request(request.as_bytes()).unwrap().unwrap())
        };
        assert_eq!(answer("/healthz"), Answer::Name);
        assert_eq!(answer("/bytes/1048576"), Answer::Bytes(1_048_576));
        assert_eq!(answer("/bytes/-1"), Answer::Short("400 Bad Request"));
        assert_eq!(answer("/bytes/999999999999"), Answer::Short("400 Bad Request"));
    }
}
