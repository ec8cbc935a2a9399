//! The server that is checked: every address of the loopback network, one port, in a process of its own.

use anyhow::{Context as _, ensure};
use std::io::{BufRead as _, BufReader};
use std::process::{Child as Process, Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Tells the program to be the server.
pub const ARGUMENT: &str = "--serve";

/// Connections that wait to be accepted.
const BACKLOG: u32 = 16_384;

/// Longest request, in bytes.
const MAX_REQUEST_BYTES: usize = 4_096;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwell\n";

/// The server's process; killed when dropped.
pub struct Child {
    process: Process,
    /// Where it listens.
    pub port: u16,
}

impl Child {
    /// Starts it; returns when it listens.
    pub fn start() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let process = Command::new(own).arg(ARGUMENT).stdout(Stdio::piped()).spawn()?;
        // From here on it ends with this value.
        let mut child = Self { process, port: 0 };
        let stdout = child.process.stdout.take().context("no output of the server")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        child.port = line.trim().parse().with_context(|| format!("the server said {line:?}"))?;
        Ok(child)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until killed.
pub fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind("0.0.0.0:0".parse()?)?;
        let listener: TcpListener = socket.listen(BACKLOG)?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A TCP check resets the connection, which is no error here.
                let _ = answer(stream).await;
            });
        }
    })
}

async fn answer(mut stream: TcpStream) -> anyhow::Result<()> {
    let (mut request, mut length) = ([0; MAX_REQUEST_BYTES], 0);
    loop {
        let room = request.get_mut(length..).filter(|room| !room.is_empty()).context("a long request")?;
        let read = stream.read(room).await?;
        ensure!(read > 0, "no request");
        length += read;
        if request.get(..length).is_some_and(|request| request.ends_with(b"\r\n\r\n")) {
            return Ok(stream.write_all(ANSWER).await?);
        }
    }
}
