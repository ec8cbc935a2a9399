//! One connection of each kind, from its beginning to its end.
//!
//! Role: talks, downloads, visits, and the book that they write in. Imports `report`, `control` (the clock).
//! Always holds: each connection that was begun is open, ended or broken in the book, and only one of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::report::{Download, Failure, MAX_FAILURES, MAX_VISITS, Report, Tally, Visit};
use crate::programs::control::now_us;

/// Silence after which a connection counts as broken: several retransmissions.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Pause of a talk between an answer and the next request, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 1_000..2_000;

/// Longest line of an answer, in bytes.
const MAX_LINE_LEN: u64 = 256;

/// Bytes of a download read at once.
const READ_LEN: usize = 16 << 10;

/// Room for lines that were received, in bytes: small, since there are thousands of connections.
const BUFFER_LEN: usize = 512;

/// The client: its orders, and what became of its connections.
pub(super) struct Client {
    /// What the lab wants.
    pub orders: watch::Sender<Orders>,
    book: Mutex<Book>,
}

impl Default for Client {
    fn default() -> Self {
        Self { orders: watch::Sender::new(Orders::default()), book: Mutex::default() }
    }
}

/// What the lab wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// End every talk and download.
    pub stop: bool,
    /// Make no more visits.
    pub no_visits: bool,
    /// End the talks and downloads with these servers.
    pub leave: BTreeSet<String>,
}

impl Orders {
    fn end_those_with(&self, server: &str) -> bool {
        self.stop || self.leave.contains(server)
    }
}

/// What became of the connections.
#[derive(Default)]
pub(super) struct Book {
    /// Counts and failures.
    pub report: Report,
    /// Visits that have ended.
    pub visits: Vec<Visit>,
    /// Downloads that were established.
    pub downloads: Vec<Download>,
}

/// Kinds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Talk,
    Download,
    Visit,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Download => "download",
            Self::Visit => "visit",
        }
    }

    fn tally(self, report: &mut Report) -> &mut Tally {
        match self {
            Self::Talk => &mut report.talks,
            Self::Download => &mut report.downloads,
            Self::Visit => &mut report.visits,
        }
    }
}

/// A connection under way.
struct Connection {
    kind: Kind,
    vip: SocketAddr,
    local: Option<SocketAddr>,
    server: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// What became of the connections.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line every second or two, until the lab wants it to end.
    pub(super) async fn talk(&self, vip: SocketAddr, pauses: fastrand::Rng) {
        let mut connection = self.begin(Kind::Talk, vip);
        let result = self.talk_on(&mut connection, pauses).await;
        self.end(&connection, result);
    }

    /// One download, unless the lab wants it to end before.
    pub(super) async fn download(&self, vip: SocketAddr, bytes: u64, time: Duration) {
        let mut connection = self.begin(Kind::Download, vip);
        let result = self.read_download(&mut connection, bytes, time).await;
        self.end(&connection, result);
    }

    /// One exchange on a connection of its own.
    pub(super) async fn visit(&self, vip: SocketAddr) {
        let begun_us = now_us();
        let mut connection = self.begin(Kind::Visit, vip);
        let result = self.exchange_once(&mut connection).await;
        self.end(&connection, result);
        let mut book = self.book();
        if book.visits.len() < MAX_VISITS {
            let Connection { vip, local, server, .. } = connection;
            book.visits.push(Visit { vip, local, begun_us, ended_us: now_us(), server });
        }
    }

    async fn talk_on(&self, connection: &mut Connection, mut pauses: fastrand::Rng) -> Result<()> {
        let mut orders = self.orders.subscribe();
        connection.open().await?;
        for number in 0_u64.. {
            let answer = connection.exchange(&format!("echo {number}")).await?;
            self.established(connection, &answer, &number.to_string())?;
            let server = connection.server.clone().unwrap_or_default();
            let pause = sleep(Duration::from_millis(pauses.u64(PAUSE_MS)));
            tokio::select! {
                () = pause => {}
                // The sender lives as long as the client.
                _ = orders.wait_for(|orders| orders.end_those_with(&server)) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn read_download(&self, connection: &mut Connection, bytes: u64, time: Duration) -> Result<()> {
        connection.open().await?;
        let answer = connection.exchange(&format!("download {bytes} {}", time.as_millis())).await?;
        self.established(connection, &answer, &bytes.to_string())?;
        let server = connection.server.clone().unwrap_or_default();
        let mut orders = self.orders.subscribe();
        let place = {
            let server = server.clone();
            let mut book = self.book();
            book.downloads.push(Download { vip: connection.vip, server, begun_us: now_us(), ended_us: None });
            book.downloads.len() - 1
        };
        tokio::select! {
            read = connection.read_exactly(bytes) => read?,
            _ = orders.wait_for(|orders| orders.end_those_with(&server)) => return Ok(()),
        }
        if let Some(download) = self.book().downloads.get_mut(place) {
            download.ended_us = Some(now_us());
        }
        Ok(())
    }

    async fn exchange_once(&self, connection: &mut Connection) -> Result<()> {
        connection.open().await?;
        let answer = connection.exchange("echo visit").await?;
        self.established(connection, &answer, "visit")
    }

    fn begin(&self, kind: Kind, vip: SocketAddr) -> Connection {
        kind.tally(&mut self.book().report).begun += 1;
        Connection { kind, vip, local: None, server: None, stream: None }
    }

    /// Checks an answer, and enters the connection as open when it is the first.
    fn established(&self, connection: &mut Connection, answer: &str, wanted: &str) -> Result<()> {
        let (server, text) = answer.split_once(' ').context("an answer without a name")?;
        ensure!(text == wanted, "answered {text:?} instead of {wanted:?}");
        if let Some(before) = &connection.server {
            ensure!(before == server, "answered by {server}, by {before} before");
            return Ok(());
        }
        connection.server = Some(server.to_owned());
        let mut book = self.book();
        let tally = connection.kind.tally(&mut book.report);
        *tally.open.entry(server.to_owned()).or_default() += 1;
        Ok(())
    }

    fn end(&self, connection: &Connection, result: Result<()>) {
        let mut book = self.book();
        let tally = connection.kind.tally(&mut book.report);
        let server = connection.server.clone();
        if let Some(open) = server.as_ref().and_then(|server| tally.open.get_mut(server)) {
            *open -= 1;
        }
        let Err(error) = result else {
            tally.ended += 1;
            return;
        };
        tally.broken += 1;
        if book.report.failures.len() < MAX_FAILURES {
            let Connection { kind, vip, local, .. } = connection;
            let (kind, text) = (kind.name().to_owned(), format!("{error:#}"));
            let failure = Failure { kind, at_us: now_us(), vip: *vip, local: *local, server, text };
            book.report.failures.push(failure);
        }
    }
}

impl Connection {
    async fn open(&mut self) -> Result<()> {
        let connected = timeout(PATIENCE, TcpStream::connect(self.vip)).await;
        let stream = connected.context("no answer to the SYN")?.context("connecting")?;
        stream.set_nodelay(true)?;
        self.local = Some(stream.local_addr()?);
        self.stream = Some(BufReader::with_capacity(BUFFER_LEN, stream));
        Ok(())
    }

    fn stream(&mut self) -> Result<&mut BufReader<TcpStream>> {
        self.stream.as_mut().context("not connected")
    }

    /// Sends a line and reads one.
    async fn exchange(&mut self, request: &str) -> Result<String> {
        let stream = self.stream()?;
        let exchanged = timeout(PATIENCE, async {
            stream.write_all(format!("{request}\n").as_bytes()).await.context("sending")?;
            let mut answer = String::new();
            stream.take(MAX_LINE_LEN).read_line(&mut answer).await.context("receiving")?;
            Ok::<_, anyhow::Error>(answer)
        });
        let answer = exchanged.await.with_context(|| format!("no answer for {PATIENCE:?}"))??;
        match answer.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => bail!("closed by the server"),
        }
    }

    async fn read_exactly(&mut self, bytes: u64) -> Result<()> {
        let mut chunk = vec![0; READ_LEN];
        let mut left = bytes;
        while left > 0 {
            let read = timeout(PATIENCE, self.stream()?.read(&mut chunk)).await;
            let len =
                read.with_context(|| format!("silent for {PATIENCE:?}, {left} bytes before the end"))?;
            match len.with_context(|| format!("receiving, {left} bytes before the end"))? {
                0 => bail!("closed by the server, {left} bytes before the end"),
                len => left = left.checked_sub(len as u64).context("more bytes than announced")?,
            }
        }
        Ok(())
    }
}
