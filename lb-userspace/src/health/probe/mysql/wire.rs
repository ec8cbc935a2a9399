//! Packets on a connection.
//!
//! Always holds: no packet longer than its reader asked for is taken in.

use bytes::BytesMut;
use mysql_common::proto::codec::PacketCodec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::Failure;

/// Bytes that are read at once.
const READ_BYTES: usize = 4 * 1024;

/// Head and body of the command that says good-bye.
const QUIT: [u8; 5] = [1, 0, 0, 0, 1];

/// A connection to a server.
pub(super) struct Wire {
    stream: TcpStream,
    codec: PacketCodec,
    unread: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, codec: PacketCodec::default(), unread: BytesMut::new() }
    }

    /// Sends a packet that begins a command.
    pub(super) async fn command(&mut self, packet: &[u8]) -> Result<(), Failure> {
        self.codec.reset_seq_id();
        self.send(packet).await
    }

    /// Sends a packet that answers one of the server's.
    pub(super) async fn send(&mut self, mut packet: &[u8]) -> Result<(), Failure> {
        let mut framed = BytesMut::new();
        self.codec.encode(&mut packet, &mut framed)?;
        Ok(self.stream.write_all(&framed).await?)
    }

    /// Waits for a packet of `max_bytes` at most; never an empty one.
    pub(super) async fn receive(&mut self, max_bytes: usize) -> Result<Vec<u8>, Failure> {
        self.codec.max_allowed_packet = max_bytes;
        let mut packet = Vec::new();
        while !self.codec.decode(&mut self.unread, &mut packet)? {
            self.unread.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if packet.is_empty() {
            return Err(Failure::Malformed("an empty packet".to_owned()));
        }
        Ok(packet)
    }

    /// Says good-bye without waiting for anything, so that the server does not log an aborted client.
    pub(super) fn quit(self) {
        // A reset could overtake it: this socket closes in order, as it is not one of thousands.
        let linger = libc::linger { l_onoff: 0, l_linger: 0 };
        let _ = nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger);
        let _ = self.stream.try_write(&QUIT);
    }
}
