//! Uploads: a request with a large body. Imports `lab` and `site`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::Host;
use crate::site::HTTP_PORT;
use anyhow::{Result, ensure};

/// Body bytes written at once.
const CHUNK: [u8; 16 << 10] = [b'y'; 16 << 10];

/// Sends `chunks` times 16 KiB to a VIP from `host`; the server says who it is once it has them all.
///
/// # Errors
/// When the connection breaks, time is up, or the answer is not 200.
pub fn upload(host: &Host, vip: IpAddr, chunks: usize, timeout: Duration) -> Result<()> {
    host.enter(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(vip, HTTP_PORT), timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let length = chunks * CHUNK.len();
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: site\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )?;
        for _ in 0..chunks {
            stream.write_all(&CHUNK)?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{vip}: {answer}");
        Ok(())
    })?
}
