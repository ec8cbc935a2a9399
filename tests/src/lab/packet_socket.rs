//! Packet sockets (packet(7)): whole frames in and out of one interface.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::netdevice::name_to_index;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Buffer in the kernel for frames not read yet, in bytes.
const RECEIVE_BUFFER_LEN: usize = 16 << 20;

/// Longest frame read.
const MAX_FRAME_LEN: usize = 65_536 + 64;

/// A packet socket bound to one interface, for all protocols.
pub(super) struct PacketSocket {
    socket: Socket,
    buffer: Vec<MaybeUninit<u8>>,
}

/// A frame that passed the interface.
pub(super) struct Passed {
    /// From the Ethernet header on.
    pub(super) bytes: Vec<u8>,
    /// Sent by the host itself.
    pub(super) outgoing: bool,
}

impl PacketSocket {
    /// Opens a socket in the calling thread's namespace.
    pub(super) fn open(interface: &str) -> Result<Self> {
        // Without a protocol no frame arrives before the socket is bound to the interface.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("opening a packet socket")?;
        let index = name_to_index(&socket, interface).context("no such interface")?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_LEN)?;
        socket.bind(&link_address(index)?).context("binding a packet socket")?;
        Ok(Self { socket, buffer: vec![MaybeUninit::uninit(); MAX_FRAME_LEN] })
    }

    /// Sends one frame, from its Ethernet header on.
    pub(super) fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send(frame).with_context(|| format!("sending {} bytes", frame.len()))?;
        ensure!(sent == frame.len(), "sent {sent} bytes of {}", frame.len());
        Ok(())
    }

    /// The next frame; `None` when none comes in the time set by [`PacketSocket::set_timeout`].
    pub(super) fn receive(&mut self) -> io::Result<Option<Passed>> {
        let (len, address) = match self.socket.recv_from(&mut self.buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let bytes = self.buffer.get(..len).unwrap_or_default();
        // SAFETY: the kernel wrote `len` bytes to the start of the buffer, and `get` kept that within it.
        let bytes = unsafe { bytes.assume_init_ref() }.to_vec();
        Ok(Some(Passed { bytes, outgoing: packet_type(address) == libc::PACKET_OUTGOING }))
    }

    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(timeout))
    }
}

/// The address that binds a packet socket to every protocol of an interface.
fn link_address(index: u32) -> Result<SockAddr> {
    let all_protocols = u16::try_from(libc::ETH_P_ALL)?.to_be();
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is the kernel's address type for AF_PACKET and fits sockaddr_storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET)?;
    address.sll_protocol = all_protocols;
    address.sll_ifindex = i32::try_from(index)?;
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the first `len` bytes of the storage were just initialised as an address of AF_PACKET.
    Ok(unsafe { SockAddr::new(storage, len) })
}

/// Whom a frame was for and where it came from, as packet(7) numbers it.
fn packet_type(address: SockAddr) -> u8 {
    let mut storage = address.as_storage();
    // SAFETY: the kernel filled this in as a `sockaddr_ll`, since the socket is of AF_PACKET; it fits the storage.
    unsafe { storage.view_as::<libc::sockaddr_ll>() }.sll_pkttype
}
