//! Configurations of a few services, written as an operator would. Imports `site`.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::site::HTTP_PORT;

/// The node's own part of a configuration.
pub struct Node<'a> {
    /// `node.interfaces`.
    pub interfaces: &'a [&'a str],
    /// `node.vips`.
    pub vips: &'a str,
    /// `node.bpffs`.
    pub bpffs: &'a Path,
    /// `node.control_socket`.
    pub socket: &'a Path,
}

/// A service with a pool of its own.
pub struct Served<'a> {
    /// Forward mode.
    pub mode: &'a str,
    /// The VIP.
    pub vip: IpAddr,
    /// Addresses of the backends, of any family that the mode can do.
    pub backends: &'a [IpAddr],
    /// `tcp` or `udp`.
    pub protocol: &'a str,
    /// More lines of the pool.
    pub keys: &'a str,
}

impl<'a> Served<'a> {
    /// A web service.
    pub fn web(mode: &'a str, vip: IpAddr, backends: &'a [IpAddr]) -> Self {
        Self { mode, vip, backends, protocol: "tcp", keys: "" }
    }
}

/// A configuration that serves these, without health checks, on these interfaces.
pub fn text(node: &Node<'_>, services: &[Served<'_>]) -> String {
    let interfaces: Vec<String> = node.interfaces.iter().map(|name| format!("\"{name}\"")).collect();
    let mut text = format!(
        "[node]\ninterfaces = [{}]\nvips = \"{}\"\nbpffs = \"{}\"\ncontrol_socket = \"{}\"\n",
        interfaces.join(", "),
        node.vips,
        node.bpffs.display(),
        node.socket.display()
    );
    for (number, service) in services.iter().enumerate() {
        let Served { mode, vip, backends, protocol, keys } = service;
        let backends: String =
            (1..).zip(backends.iter()).map(|(number, address)| line(number, *address, mode)).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[pools.p{number}]\nmode = \"{mode}\"\n{keys}backends = [\n{backends}]\n\n[services.s{number}]\nvips = [\"{vip}\"]\n\
             ports = [{HTTP_PORT}]\nprotocol = \"{protocol}\"\npool = \"p{number}\"\n"
        );
    }
    text
}

fn line(number: usize, address: IpAddr, mode: &str) -> String {
    let address = if matches!(mode, "nat" | "full-nat") {
        SocketAddr::new(address, HTTP_PORT).to_string()
    } else {
        address.to_string()
    };
    format!("    {{ name = \"b{number}\", address = \"{address}\" }},\n")
}
