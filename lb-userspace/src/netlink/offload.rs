//! What network cards do to VLAN tags before XDP sees the frame (ethtool).

use std::ffi::c_char;
use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `ETHTOOL_GFLAGS`, `include/uapi/linux/ethtool.h`.
const ETHTOOL_GFLAGS: u32 = 0x25;

/// `ETH_FLAG_RXVLAN` of the same: the card takes 802.1Q tags off (`rx-vlan-offload` of `ethtool -k`).
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_value` of the same.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Whether the card of an interface takes VLAN tags off the frames that it receives, so that XDP cannot see them.
///
/// # Errors
/// When there is no such interface, or its driver has no ethtool.
pub fn takes_vlan_tags_off(interface: &str) -> io::Result<bool> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    // SAFETY: an ifreq of zeroes is a value: an empty name, and integers and null pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0: it ends the name.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads the ifreq and, for this command, reads and writes the value that it points to; both
    // outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data & ETH_FLAG_RXVLAN != 0) }
}
