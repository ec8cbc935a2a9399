//! `lb-lab decap`: takes packets out of IP tunnels, for real servers behind an IPIP forward mode.
//!
//! It does what a tunnel device without a fixed remote does (RFC 2003, RFC 2473), in user space, since kernels without
//! such devices must run the lab too. Raw sockets take the outer packets (reassembled, for any address of the host), a
//! tun device gives the inner ones to the kernel, which verifies their checksums and finds the local address or VIP.

use std::mem::MaybeUninit;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};

use super::tun::Tun;

/// What it prints when packets are taken.
pub const READY: &str = "lb-lab decap: ready";

/// Largest IP packet, in bytes.
const MAX_PACKET_LEN: usize = 65_536;

/// Buffer in the kernel for packets not taken yet, in bytes.
const RECEIVE_BUFFER_LEN: usize = 16 << 20;

/// Length of an IPv4 header without options, in bytes.
const MIN_IPV4_LEN: usize = 20;

/// One kind of tunnel.
struct Form {
    /// As error messages name it.
    name: &'static str,
    /// Outer family.
    outer: Domain,
    /// Protocol number in the outer header: 4 (IPv4 inside) or 41 (IPv6 inside).
    protocol: i32,
    /// IP version of the inner packet.
    inner_version: u8,
}

/// 4in4, 6in4, 4in6 and 6in6.
const FORMS: [Form; 4] = [
    Form { name: "4in4", outer: Domain::IPV4, protocol: libc::IPPROTO_IPIP, inner_version: 4 },
    Form { name: "6in4", outer: Domain::IPV4, protocol: libc::IPPROTO_IPV6, inner_version: 6 },
    Form { name: "4in6", outer: Domain::IPV6, protocol: libc::IPPROTO_IPIP, inner_version: 4 },
    Form { name: "6in6", outer: Domain::IPV6, protocol: libc::IPPROTO_IPV6, inner_version: 6 },
];

/// Makes the tun device `device` and decapsulates until it is ended by a signal.
///
/// # Errors
/// Without root, when the device exists, or when a socket breaks.
pub fn decap(device: &str) -> Result<()> {
    let tun = Tun::create(device)?;
    set_up(device)?;
    let mut sockets = Vec::new();
    for form in &FORMS {
        let socket = Socket::new(form.outer, Type::RAW, Some(Protocol::from(form.protocol)))
            .with_context(|| format!("opening a raw socket for {}", form.name))?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_LEN)?;
        sockets.push((form, socket));
    }
    println!("{READY}");
    thread::scope(|scope| {
        let tun = &tun;
        let threads: Vec<_> =
            sockets.iter().map(|(form, socket)| scope.spawn(move || relay(form, socket, tun))).collect();
        // A thread ends only with an error; the process then ends with it.
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Sets the device up; replies take the normal routes, so it needs no address.
fn set_up(device: &str) -> Result<()> {
    let status =
        Command::new("ip").args(["link", "set", "dev", device, "up"]).status().context("running ip")?;
    ensure!(status.success(), "`ip link set dev {device} up`: {status}");
    Ok(())
}

/// Takes packets of one form for ever.
fn relay(form: &Form, socket: &Socket, tun: &Tun) -> Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); MAX_PACKET_LEN];
    loop {
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(|| format!("receiving {}", form.name)),
        };
        let received = buffer.get(..len).unwrap_or_default();
        // SAFETY: the kernel wrote `len` bytes to the start of the buffer, and `get` kept that within it.
        let received = unsafe { received.assume_init_ref() };
        let Some(inner) = inner_packet(form, received) else {
            eprintln!("{}: no IPv{} packet inside", form.name, form.inner_version);
            continue;
        };
        if let Err(error) = tun.deliver(inner) {
            eprintln!("{}: the inner packet of {} bytes was refused: {error}", form.name, inner.len());
        }
    }
}

/// The inner packet of what a raw socket gave: IPv4 ones give the outer header too (raw(7)), IPv6 ones do not.
fn inner_packet<'a>(form: &Form, received: &'a [u8]) -> Option<&'a [u8]> {
    let inner = if form.outer == Domain::IPV4 {
        let header_len = usize::from(*received.first()? & 0x0f) * 4;
        if header_len < MIN_IPV4_LEN {
            return None;
        }
        received.get(header_len..)?
    } else {
        received
    };
    (*inner.first()? >> 4 == form.inner_version).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_ipv4_header_is_taken_off_with_its_options() {
        let mut packet = vec![0x46; 24];
        packet.extend([0x45, 1, 2]);
        assert_eq!(inner_packet(&FORMS[0], &packet), Some(&[0x45, 1, 2][..]));
    }

    #[test]
    fn another_inner_version_than_the_protocol_says_is_refused() {
        assert_eq!(inner_packet(&FORMS[3], &[0x45, 0]), None);
        assert_eq!(inner_packet(&FORMS[3], &[]), None);
        assert_eq!(inner_packet(&FORMS[0], &[0x41; 30]), None);
    }
}
