//! Configurations of a few services, written as an operator would.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_tests::lab::Process;
use lb_tests::site::HTTP_PORT;

use crate::bed::Bed;

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
}

impl<'a> Served<'a> {
    /// A web service.
    pub fn web(mode: &'a str, vip: IpAddr, backends: &'a [IpAddr]) -> Self {
        Self { mode, vip, backends, protocol: "tcp" }
    }
}

/// Serves these, without health checks, on these interfaces; returns when every next hop is known.
pub fn serve(bed: &Bed, interfaces: &[&str], vips: &str, services: &[Served<'_>]) -> Result<Process> {
    let interfaces: Vec<String> = interfaces.iter().map(|name| format!("\"{name}\"")).collect();
    let mut text = format!(
        "[node]\ninterfaces = [{}]\nvips = \"{vips}\"\nbpffs = \"{}\"\ncontrol_socket = \"{}\"\n",
        interfaces.join(", "),
        bed.bpffs.display(),
        bed.socket.display()
    );
    for (number, service) in services.iter().enumerate() {
        let Served { mode, vip, backends, protocol } = service;
        let backends: String =
            (1..).zip(backends.iter()).map(|(number, address)| line(number, *address, mode)).collect();
        write!(
            text,
            "\n[pools.p{number}]\nmode = \"{mode}\"\nbackends = [\n{backends}]\n\n[services.s{number}]\nvips = [\"{vip}\"]\n\
             ports = [{HTTP_PORT}]\nprotocol = \"{protocol}\"\npool = \"p{number}\"\n"
        )?;
    }
    bed.write(&text)?;
    bed.start()
}

fn line(number: usize, address: IpAddr, mode: &str) -> String {
    let address =
        if mode == "nat" { SocketAddr::new(address, HTTP_PORT).to_string() } else { address.to_string() };
    format!("    {{ name = \"b{number}\", address = \"{address}\" }},\n")
}
