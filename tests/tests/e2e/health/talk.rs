//! A connection that lasts: one request after the other, each answered by the same server as long as it holds.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::http::BACKEND_HEADER;
use lb_tests::site::HTTP_PORT;

use crate::bed::Bed;

/// Time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer.
const MAX_ANSWER_LEN: usize = 4 << 10;

/// A connection of the client to a VIP.
pub struct Talk {
    stream: TcpStream,
    /// The server's name.
    pub server: String,
}

impl Talk {
    /// Connects and asks once.
    pub fn start(bed: &Bed, vip: IpAddr) -> Result<Self> {
        let server = SocketAddr::new(vip, HTTP_PORT);
        let stream = bed.fleet.client.enter(|| TcpStream::connect_timeout(&server, PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = Self { stream, server: String::new() };
        talk.server = talk.ask()?;
        Ok(talk)
    }

    /// A connection to this server; others are closed.
    pub fn with(bed: &Bed, vip: IpAddr, server: &str) -> Result<Self> {
        const ATTEMPTS: usize = 60;
        for _ in 0..ATTEMPTS {
            let talk = Self::start(bed, vip)?;
            if talk.server == server {
                return Ok(talk);
            }
        }
        anyhow::bail!("{vip}: none of {ATTEMPTS} connections found {server}")
    }

    /// Asks once more; the same server must answer.
    pub fn goes_on(&mut self) -> Result<()> {
        let server = self.ask().with_context(|| format!("a connection to {} broke", self.server))?;
        ensure!(server == self.server, "{server} answers instead of {}", self.server);
        Ok(())
    }

    /// One request, and the name of who answers.
    pub fn ask(&mut self) -> Result<String> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let (mut answer, mut chunk) = (Vec::new(), [0; 1_024]);
        loop {
            let len = self.stream.read(&mut chunk)?;
            ensure!(len > 0, "the connection ended");
            answer.extend_from_slice(&chunk[..len]);
            ensure!(answer.len() <= MAX_ANSWER_LEN, "a long answer");
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            };
            let length: usize = field("Content-Length").context("no length")?.parse()?;
            if body.len() >= length {
                return Ok(field(BACKEND_HEADER).context("no name")?.to_owned());
            }
        }
    }
}
