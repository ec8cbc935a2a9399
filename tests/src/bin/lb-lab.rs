//! Our own small programs for the hosts of a lab.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use lb_tests::programs::{decap, hold, serve};

/// Programs that run inside the hosts of a lab
#[derive(Parser)]
#[command(name = "lb-lab", version)]
enum Arguments {
    /// Answer HTTP and UDP with a name
    Serve {
        /// The name: body, and value of the header X-Backend
        #[arg(long)]
        name: String,
        /// Address and port for HTTP; may be given several times
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Vec<SocketAddr>,
        /// Address and port for UDP; may be given several times
        #[arg(long, value_name = "ADDRESS:PORT")]
        udp: Vec<SocketAddr>,
    },
    /// Take packets out of IP-in-IP tunnels and hand them to this host
    Decap {
        /// Name of the tun device to make
        #[arg(long, default_value = "decap")]
        device: String,
    },
    /// Make a small lab and keep it (for the lab's own tests)
    #[command(hide = true)]
    Hold,
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Serve { name, listen, udp } => serve::serve(&name, &listen, &udp),
        Arguments::Decap { device } => decap::decap(&device),
        Arguments::Hold => hold::hold(),
    }
}
