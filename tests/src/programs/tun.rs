//! A tun device: packets written to it arrive in the network namespace as if received.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};

/// A tun device that lives as long as this value.
pub(super) struct Tun {
    file: File,
}

impl Tun {
    /// Makes the device. It still has to be set up.
    pub(super) fn create(name: &str) -> Result<Self> {
        ensure!(
            !name.is_empty() && name.len() < libc::IFNAMSIZ && name.is_ascii(),
            "{name:?} is no interface name: 1 to {} ASCII characters",
            libc::IFNAMSIZ - 1
        );
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .context("opening /dev/net/tun (is the module `tun` loaded?)")?;
        // SAFETY: an all-zero ifreq is a valid value: an empty name and no flags.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (field, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *field = libc::c_char::try_from(byte)?;
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI)?;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is and which outlives the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if result < 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("making tun device {name}"));
        }
        Ok(Self { file })
    }

    /// Hands one IP packet to the namespace. Its checksums are verified there, as those of any received packet.
    pub(super) fn deliver(&self, packet: &[u8]) -> std::io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}
