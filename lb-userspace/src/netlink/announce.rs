//! Tells the link that a VIP is here: gratuitous ARP, unsolicited neighbour advertisement.
//!
//! Always holds: one call sends one frame through one interface; repeating is the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::sysctl::{self, Family};
use super::{Link, Mac, Medium};

/// `EtherType` of ARP and of IPv6 (RFC 7042 appendix B).
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Shortest Ethernet frame without its check sequence, in bytes.
const FRAME_BYTES_MIN: usize = 60;

/// `ICMPv6` next header (RFC 4443), and the type of a neighbour advertisement (RFC 4861 section 4.4).
const NEXT_HEADER_ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Flags of a neighbour advertisement: from a router; overrides a cached link-layer address.
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;

/// All nodes on the link (RFC 4291 section 2.7.1) and its Ethernet address (RFC 2464 section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// A VIP that could not be announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The interface has no Ethernet address.
    #[error("cannot announce {vip} on {link}: it is no Ethernet interface")]
    UnsupportedLink {
        /// The address.
        vip: IpAddr,
        /// The interface.
        link: String,
    },
    /// The frame could not be sent.
    #[error("cannot announce {vip} on {link}: {errno} (it needs CAP_NET_RAW and an interface that is up)")]
    Send {
        /// The address.
        vip: IpAddr,
        /// The interface.
        link: String,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// Sends one gratuitous ARP (RFC 5227 section 2.3) or one unsolicited neighbour advertisement with the override
/// flag (RFC 4861 section 7.2.6) for `vip`, in the network namespace of the calling thread.
///
/// # Errors
/// When the interface is no Ethernet interface or the kernel refuses to send.
pub fn announce(link: &Link, vip: IpAddr) -> Result<(), AnnounceError> {
    let (Medium::Ethernet, Some(mac)) = (link.medium, link.mac) else {
        return Err(AnnounceError::UnsupportedLink { vip, link: link.name.clone() });
    };
    let frame = match vip {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => {
            // Unknown means a host: a wrong router flag would make hosts route through the VIP.
            let is_router = sysctl::forwarding(&link.name, Family::V6).unwrap_or(false);
            unsolicited_advertisement(mac, address, is_router)
        }
    };
    let failed = |errno| AnnounceError::Send { vip, link: link.name.clone(), errno };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0: this socket receives nothing.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(failed)?;
    send(&socket, link.index, &frame).map_err(failed)
}

fn send(socket: &OwnedFd, ifindex: u32, frame: &[u8]) -> Result<(), Errno> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(|_| Errno::AFNOSUPPORT)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(ifindex).map_err(|_| Errno::NODEV)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    };
    let address_bytes =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `frame` and `address` outlive the call and are passed with their own lengths; the kernel only reads
    // them. A `sockaddr_ll` is a socket address of the socket's family, so the pointer cast is what sendto expects.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            address_bytes,
        )
    };
    if sent < 0 {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(())
    }
}

/// An ARP announcement: a broadcast request whose sender and target are the VIP (RFC 5227 section 3).
fn gratuitous_arp(mac: Mac, vip: Ipv4Addr) -> Vec<u8> {
    const ETHERNET: u16 = 1;
    const IPV4: u16 = 0x0800;
    const REQUEST: u16 = 1;
    let mut frame = ethernet_header([0xff; 6], mac, ETHERTYPE_ARP);
    frame.extend(ETHERNET.to_be_bytes());
    frame.extend(IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(vip.octets());
    frame.extend([0; 6]);
    frame.extend(vip.octets());
    frame.resize(FRAME_BYTES_MIN, 0);
    frame
}

/// A neighbour advertisement from the VIP to all nodes, with the target link-layer address (RFC 4861 section 4.4).
fn unsolicited_advertisement(mac: Mac, vip: Ipv6Addr, is_router: bool) -> Vec<u8> {
    const HOP_LIMIT: u8 = 255;
    const OPTION_TARGET_LINK_LAYER_ADDRESS: u8 = 2;
    let flags = FLAG_OVERRIDE | if is_router { FLAG_ROUTER } else { 0 };
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(vip.octets());
    // The length of an option counts units of 8 bytes.
    message.extend([OPTION_TARGET_LINK_LAYER_ADDRESS, 1]);
    message.extend(mac);
    let [high, low] = icmpv6_checksum(vip, ALL_NODES, &message).to_be_bytes();
    message[2] = high;
    message[3] = low;

    let mut frame = ethernet_header(ALL_NODES_MAC, mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend([NEXT_HEADER_ICMPV6, HOP_LIMIT]);
    frame.extend(vip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet_header(destination: Mac, source: Mac, ethertype: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(96);
    header.extend(destination);
    header.extend(source);
    header.extend(ethertype.to_be_bytes());
    header
}

/// The checksum over pseudo-header and message (RFC 8200 section 8.1), of a message whose own field is zero.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + u64::try_from(message.len()).unwrap_or(u64::MAX)
        + u64::from(NEXT_HEADER_ICMPV6)
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0xaa, 0xbb, 0xcc];

    #[test]
    fn a_gratuitous_arp_is_a_padded_broadcast_request_for_itself() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 0, 2, 1));
        #[rustfmt::skip]
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0xaa, 0xbb, 0xcc, 0x08, 0x06,
            0, 1, 0x08, 0, 6, 4, 0, 1,
            0x02, 0, 0, 0xaa, 0xbb, 0xcc, 192, 0, 2, 1,
            0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
        ];
        assert_eq!(frame[..42], expected);
        assert_eq!(frame[42..], [0; 18]);
    }

    #[test]
    fn an_advertisement_overrides_and_says_whether_it_is_a_router() {
        let vip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let host = unsolicited_advertisement(MAC, vip, false);
        assert_eq!(host[..14], [0x33, 0x33, 0, 0, 0, 1, 0x02, 0, 0, 0xaa, 0xbb, 0xcc, 0x86, 0xdd]);
        assert_eq!(host[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(host[22..38], vip.octets());
        assert_eq!(host[38..54], ALL_NODES.octets());
        assert_eq!(host[54..56], [136, 0]);
        assert_eq!(host[58], 0x20);
        assert_eq!(host[62..78], vip.octets());
        assert_eq!(host[78..], [2, 1, 0x02, 0, 0, 0xaa, 0xbb, 0xcc]);
        assert_eq!(unsolicited_advertisement(MAC, vip, true)[58], 0xa0);
    }

    #[test]
    fn the_checksum_is_that_of_a_message_worked_out_by_hand() {
        // Source ::1, destination ::2, message of 8 bytes: 1 + 2 + 8 + 58 + 0x8800 + 0x2000 = 0xa845.
        let message = [0x88, 0, 0, 0, 0x20, 0, 0, 0];
        let source = Ipv6Addr::LOCALHOST;
        let destination = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 2);
        assert_eq!(icmpv6_checksum(source, destination, &message), !0xa845);
    }
}
