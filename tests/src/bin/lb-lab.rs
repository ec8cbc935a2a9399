//! Our own small programs for the hosts of a lab.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser};
use lb_tests::programs::{app, decap, echo, hold, serve, talk};

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
    /// Answer HTTP by asking databases
    App {
        /// The name
        #[arg(long)]
        name: String,
        /// Address and port for HTTP; may be given several times
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Vec<SocketAddr>,
        /// Where to write
        #[arg(long, value_name = "ADDRESS:PORT")]
        primary: SocketAddr,
        /// Where to read
        #[arg(long, value_name = "ADDRESS:PORT")]
        replica: SocketAddr,
    },
    /// Answer connections that last, with a health page that can be told to fail
    Echo {
        /// The name: first word of every answer
        #[arg(long)]
        name: String,
        /// Address and port; may be given several times
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Vec<SocketAddr>,
        /// Address and port of the health page; may be given several times
        #[arg(long, value_name = "ADDRESS:PORT")]
        check: Vec<SocketAddr>,
        /// Unix socket that it is told and asked by
        #[arg(long, value_name = "PATH")]
        control: PathBuf,
    },
    /// Hold many connections to servers that echo, and say which broke
    Talk(TalkArgs),
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

#[derive(Args)]
struct TalkArgs {
    /// Address and port to connect to; those given several times take turns
    #[arg(long = "server", value_name = "ADDRESS:PORT")]
    servers: Vec<SocketAddr>,
    /// Connections that last
    #[arg(long, default_value_t = 0)]
    talks: u32,
    /// Downloads
    #[arg(long, default_value_t = 0)]
    downloads: u32,
    /// Bytes of each download
    #[arg(long, default_value_t = 0)]
    download_bytes: u64,
    /// Milliseconds that the server takes for each
    #[arg(long, default_value_t = 0)]
    download_ms: u64,
    /// New connections of one exchange each, in a second
    #[arg(long, default_value_t = 0)]
    visits_per_second: u32,
    /// Where the pauses come from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Unix socket that it is told and asked by
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
}

impl TalkArgs {
    fn plan(&self) -> talk::Plan {
        talk::Plan {
            servers: self.servers.clone(),
            talks: self.talks,
            downloads: self.downloads,
            download_bytes: self.download_bytes,
            download_time: Duration::from_millis(self.download_ms),
            visits_per_second: self.visits_per_second,
            seed: self.seed,
        }
    }
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Serve { name, listen, udp } => serve::serve(&name, &listen, &udp),
        Arguments::App { name, listen, primary, replica } => {
            app::serve(&name, &listen, app::Databases { primary, replica })
        }
        Arguments::Echo { name, listen, check, control } => echo::serve(&name, &listen, &check, &control),
        Arguments::Talk(args) => talk::talk(&args.plan(), &args.control),
        Arguments::Decap { device } => decap::decap(&device),
        Arguments::Hold => hold::hold(),
    }
}
