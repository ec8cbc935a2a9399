//! `lb-lab echo`: a server for connections that last. It says who it is, gives back what it is told, and sends downloads
//! at a steady pace; its health page, on ports of its own, can be told to fail while connections go on.
//!
//! A request is a line, as is the first thing answered: `echo TEXT` gives `NAME TEXT`; `download BYTES MILLISECONDS` gives
//! `NAME BYTES` and then so many bytes over so much time. Imports `control`.
//! Always holds: a connection is closed by the client, never by the server, unless it breaks the rules above.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::control::{self, now_us};

/// What it prints when every socket listens.
pub const READY: &str = "lb-lab echo: ready";

/// Control request: health checks succeed (as they do at the start).
pub const WELL: &str = "well";

/// Control request: health checks are answered with 503.
pub const SICK: &str = "sick";

/// Control request: what was accepted, as a list of [`Accept`].
pub const ACCEPTS: &str = "accepts";

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4_096;

/// Longest request, in bytes.
const MAX_LINE_LEN: u64 = 256;

/// Accepted connections that are remembered; further ones are served, and not listed.
const MAX_ACCEPTS: usize = 1 << 20;

/// Longest download, in bytes and in time.
const MAX_DOWNLOAD: (u64, Duration) = (1 << 30, Duration::from_mins(10));

/// Time between two parts of a download.
const PACE: Duration = Duration::from_millis(50);

/// Body bytes written at once.
const CHUNK: [u8; 16 << 10] = [b'x'; 16 << 10];

/// Pause after a failed accept (no descriptors left, for one).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time that a health check's request may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// An accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// The client.
    pub peer: SocketAddr,
    /// When, in microseconds since 1970.
    pub at_us: u64,
}

/// What the tasks share.
struct Server {
    name: String,
    sick: AtomicBool,
    accepts: Mutex<Vec<Accept>>,
}

/// Serves until it is ended by a signal.
///
/// # Errors
/// When an address is taken or not the host's.
pub fn serve(name: &str, listen: &[SocketAddr], check: &[SocketAddr], control: &Path) -> Result<()> {
    ensure!(!listen.is_empty(), "nothing to serve: give --listen");
    control::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = Arc::new(Server {
            name: name.to_owned(),
            sick: AtomicBool::new(false),
            accepts: Mutex::default(),
        });
        for address in listen {
            tokio::spawn(accept_all(open(*address)?, Arc::clone(&server)));
        }
        for address in check {
            tokio::spawn(answer_checks(open(*address)?, Arc::clone(&server)));
        }
        println!("{READY}");
        control::serve(control, |request| server.control(request)).await
    })
}

fn open(address: SocketAddr) -> Result<TcpListener> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().with_context(|| format!("listening on {address}"))
}

impl Server {
    fn control(&self, request: &str) -> Result<String> {
        match request {
            WELL => self.sick.store(false, Ordering::Relaxed),
            SICK => self.sick.store(true, Ordering::Relaxed),
            ACCEPTS => {
                let accepts = self.accepts.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(serde_json::to_string(&*accepts)?);
            }
            _ => bail!("unknown request"),
        }
        Ok(String::new())
    }

    fn remember(&self, accept: Accept) {
        let mut accepts = self.accepts.lock().unwrap_or_else(PoisonError::into_inner);
        if accepts.len() < MAX_ACCEPTS {
            accepts.push(accept);
        }
    }
}

async fn accept_all(listener: TcpListener, server: Arc<Server>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                server.remember(Accept { peer, at_us: now_us() });
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &server).await {
                        eprintln!("connection of {peer}: {error:#}");
                    }
                });
            }
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection until the client closes it.
async fn converse(stream: TcpStream, server: &Server) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(512, reader);
    loop {
        let mut line = String::new();
        if (&mut reader).take(MAX_LINE_LEN).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.trim_end().split_once(' ') {
            Some(("echo", text)) => {
                writer.write_all(format!("{} {text}\n", server.name).as_bytes()).await?;
            }
            Some(("download", sizes)) => {
                let (bytes, time) = parse_download(sizes)?;
                writer.write_all(format!("{} {bytes}\n", server.name).as_bytes()).await?;
                send_paced(&mut writer, bytes, time).await?;
            }
            _ => bail!("{line:?} is no request"),
        }
    }
}

/// `BYTES MILLISECONDS`, within limits.
fn parse_download(sizes: &str) -> Result<(u64, Duration)> {
    let (bytes, millis) = sizes.split_once(' ').context("a download needs BYTES and MILLISECONDS")?;
    let (bytes, time) = (bytes.parse()?, Duration::from_millis(millis.parse()?));
    let (most, longest) = MAX_DOWNLOAD;
    ensure!(bytes <= most && time <= longest, "a download of {bytes} bytes in {time:?} is more than allowed");
    Ok((bytes, time))
}

/// Sends `bytes` bytes over `time`, a part every [`PACE`].
async fn send_paced(writer: &mut (impl AsyncWriteExt + Unpin), bytes: u64, time: Duration) -> Result<()> {
    let start = Instant::now();
    let parts = u64::try_from((time.as_millis() / PACE.as_millis()).max(1))?;
    let mut sent = 0;
    for part in 1..=parts {
        let due = bytes * part / parts;
        while sent < due {
            let len = usize::try_from(due - sent)?.min(CHUNK.len());
            writer.write_all(CHUNK.get(..len).unwrap_or(&CHUNK)).await?;
            sent += len as u64;
        }
        sleep_until(start + time * u32::try_from(part)? / u32::try_from(parts)?).await;
    }
    Ok(())
}

async fn answer_checks(listener: TcpListener, server: Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let status = if server.sick.load(Ordering::Relaxed) { "503 Service Unavailable" } else { "200 OK" };
        tokio::spawn(async move {
            // The agent reports a check that fails; there is nobody to tell here.
            let _ = timeout(CHECK_TIMEOUT, answer_check(stream, status)).await;
        });
    }
}

async fn answer_check(stream: TcpStream, status: &str) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    Ok(writer.write_all(answer.as_bytes()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_has_a_size_and_a_time_within_limits() {
        assert_eq!(parse_download("1000 50").unwrap(), (1_000, Duration::from_millis(50)));
        for refused in ["1000", "x 1", "9999999999 1", "1 999999999"] {
            assert!(parse_download(refused).is_err(), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_is_complete_and_takes_its_time() {
        let mut sent = Vec::new();
        let start = Instant::now();
        send_paced(&mut sent, 100_001, Duration::from_secs(2)).await.unwrap();
        assert_eq!(sent.len(), 100_001);
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
