//! The UDP side of `lb-lab serve`: every datagram is answered with the server's name.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, cmsg_space, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

/// Longest datagram looked at; the answer does not depend on it.
const MAX_DATAGRAM_LEN: usize = 2_048;

/// The address that a datagram was sent to.
enum Asked {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// Opens a socket for [`answer_one`].
pub(super) fn listen(address: SocketAddr) -> Result<UdpSocket> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    Ok(open().with_context(|| format!("listening on UDP {address}"))?.into())
}

/// Answers the next datagram from the address that it was sent to, also where the socket is bound to all addresses: a
/// server behind the load balancer must answer from the VIP.
pub(super) fn answer_one(socket: &UdpSocket, name: &str) -> Result<()> {
    let mut datagram = [0; MAX_DATAGRAM_LEN];
    let mut control = vec![0; cmsg_space::<libc::in6_pktinfo>()];
    let mut parts = [IoSliceMut::new(&mut datagram)];
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let asked = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(from_any_interface_v4(info))),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(from_any_interface_v6(info))),
        _ => None,
    });
    let source = match &asked {
        Some(Asked::V4(info)) => ControlMessage::Ipv4PacketInfo(info),
        Some(Asked::V6(info)) => ControlMessage::Ipv6PacketInfo(info),
        None => bail!("a datagram without the address that it was sent to"),
    };
    let answer = [IoSlice::new(name.as_bytes())];
    sendmsg(socket.as_raw_fd(), &answer, &[source], MsgFlags::empty(), received.address.as_ref())?;
    Ok(())
}

/// The answer's source is the address asked; the route chooses the interface, which need not be the one it came in by.
fn from_any_interface_v4(mut info: libc::in_pktinfo) -> libc::in_pktinfo {
    info.ipi_spec_dst = info.ipi_addr;
    info.ipi_ifindex = 0;
    info
}

/// As [`from_any_interface_v4`], except that a link-local address means nothing without its interface.
fn from_any_interface_v6(mut info: libc::in6_pktinfo) -> libc::in6_pktinfo {
    let is_link_local = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr).is_unicast_link_local();
    if !is_link_local {
        info.ipi6_ifindex = 0;
    }
    info
}
