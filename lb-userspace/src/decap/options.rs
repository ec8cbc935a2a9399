//! What `lbd decap` is told.

use super::{DecapError, Prefix};
use clap::{Args, ValueEnum};
use lb_common::decap::abi::{DEFAULT_GUE_PORT, MAX_ENDS, MAX_SOURCES, MAX_VIPS};
use std::net::IpAddr;

/// Most VIPs, sources or tunnel addresses, by the room in the maps.
fn check_count(option: &'static str, count: usize, most: u32) -> Result<(), DecapError> {
    if u32::try_from(count).is_ok_and(|count| count <= most) {
        Ok(())
    } else {
        Err(DecapError::TooMany { option, count, most })
    }
}

/// Options of `lbd decap`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The interface that tunnelled packets come in by
    #[arg(long, value_name = "NAME")]
    pub interface: String,
    /// A VIP, or a prefix of them, whose packets are taken out of their tunnels; may be given more than once
    #[arg(long = "vip", value_name = "ADDRESS[/LENGTH]", required = true)]
    pub vips: Vec<Prefix>,
    /// Where tunnels end; may be given more than once [default: every address of the interface that is no VIP]
    #[arg(long = "tunnel-address", value_name = "ADDRESS")]
    pub tunnel_addresses: Vec<IpAddr>,
    /// Where tunnels may start: the load balancers; may be given more than once [default: anywhere]
    #[arg(long = "source", value_name = "ADDRESS[/LENGTH]")]
    pub sources: Vec<Prefix>,
    /// UDP port of GUE
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_GUE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub gue_port: u16,
    /// How the program is attached
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,
    /// Print the counters every so many seconds, not only at the end
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub stats: Option<u32>,
    /// Print counters as JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing directives, target=level,…
    #[arg(long, default_value = "info")]
    pub log: String,
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// In the driver, or generic where the driver cannot
    Auto,
    /// In the driver or not at all
    Native,
    /// After the kernel made its packet buffer: slow, works with every driver
    Generic,
}

impl Options {
    /// Checks what no parser of a single option can.
    ///
    /// # Errors
    /// A VIP that is none, or more of something than the maps take.
    pub fn check(&self) -> Result<(), DecapError> {
        check_count("--vip", self.vips.len(), MAX_VIPS)?;
        check_count("--source", self.sources.len(), MAX_SOURCES)?;
        check_count("--tunnel-address", self.tunnel_addresses.len(), MAX_ENDS)?;
        for vip in &self.vips {
            let address = vip.address();
            if vip.length() == 0 {
                return Err(DecapError::EveryAddress { vip: *vip });
            }
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(DecapError::NoVip { vip: *vip });
            }
        }
        for address in &self.tunnel_addresses {
            let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            if is_mapped || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(DecapError::NoTunnelAddress { address: *address });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Result<Options, clap::Error> {
        let words = ["decap", "--interface", "eth0"].into_iter().chain(line.split_whitespace());
        Command::try_parse_from(words).map(|command| command.options)
    }

    #[test]
    fn a_line_is_read() {
        let options = options("--vip 203.0.113.10 --vip 203.0.114.0/28 --vip 2001:db8::10").unwrap();
        assert_eq!(options.vips.len(), 3);
        assert_eq!((options.gue_port, options.mode, options.stats), (6080, Mode::Auto, None));
        assert!(options.check().is_ok());
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        for line in [
            "",
            "--vip x",
            "--vip 10.0.0.1/8",
            "--vip 10.0.0.1 --gue-port 0",
            "--vip 10.0.0.1 --stats 0",
            "--vip 10.0.0.1 --mode fast",
        ] {
            assert!(options(line).is_err(), "{line}");
        }
        for line in [
            "--vip 0.0.0.0/0",
            "--vip ::/0",
            "--vip 127.0.0.1",
            "--vip 224.0.0.0/4",
            "--vip 10.0.0.1 --tunnel-address ::1",
            "--vip 10.0.0.1 --tunnel-address ::ffff:10.0.0.2",
        ] {
            assert!(options(line).unwrap().check().is_err(), "{line}");
        }
    }
}
