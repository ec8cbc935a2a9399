//! What can keep `lbd decap` from doing its work.

use super::Prefix;
use crate::netlink::NetlinkError;
use std::net::IpAddr;

/// What a call of the kernel or of a library said. Messages quote it, so it is no `source`, which would be printed again.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why packets cannot be taken out of their tunnels.
#[derive(Debug, thiserror::Error)]
pub enum DecapError {
    /// More of an option than there is room for.
    #[error("{count} times {option} are too many: there is room for {most}; use prefixes")]
    TooMany {
        /// The option.
        option: &'static str,
        /// How often it was given.
        count: usize,
        /// The room.
        most: u32,
    },
    /// A VIP prefix of length 0.
    #[error("--vip {vip} is every address there is: name the VIPs, or their prefix")]
    EveryAddress {
        /// The prefix.
        vip: Prefix,
    },
    /// An address that cannot be a VIP.
    #[error("--vip {vip} is an unspecified, loopback or multicast address, which no service has")]
    NoVip {
        /// The prefix.
        vip: Prefix,
    },
    /// An address that cannot be a tunnel's end.
    #[error(
        "--tunnel-address {address} is an unspecified, loopback, multicast or v4-mapped address: no tunnel ends there"
    )]
    NoTunnelAddress {
        /// The address.
        address: IpAddr,
    },
    /// Rights are missing.
    #[error(
        "lbd decap lacks {missing}: run it as root (sudo), or give it CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    )]
    Privileges {
        /// The capabilities.
        missing: String,
    },
    /// The interface does not exist.
    #[error("there is no interface {interface}; this machine has {present}")]
    NoInterface {
        /// The interface.
        interface: String,
        /// Names of those that exist.
        present: String,
    },
    /// An interface without Ethernet frames.
    #[error(
        "{interface} is no Ethernet interface; name the one that frames from the load balancers come in by"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// Another `lbd decap` is there.
    #[error(
        "{interface} already has the XDP program of another lbd decap (program id {id}); stop that one first, or give it \
         these VIPs too"
    )]
    OtherDecap {
        /// The interface.
        interface: String,
        /// The kernel's id of the program.
        id: u32,
    },
    /// The datapath of a node is there.
    #[error(
        "{interface} already has the XDP program of a load balancer node (lbd run, program id {id}); lbd decap is for \
         backends"
    )]
    Node {
        /// The interface.
        interface: String,
        /// The kernel's id of the program.
        id: u32,
    },
    /// A program of somebody else is there.
    #[error(
        "{interface} already has the XDP program {name} (id {id}) of another owner; see it with `bpftool prog show id \
         {id}`, take it away with its own tool or `ip link set dev {interface} xdp off`, then start lbd decap again"
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// The program's name.
        name: String,
        /// The kernel's id of the program.
        id: u32,
    },
    /// The driver has no native XDP, or not as the interface is set up.
    #[error("the driver of {interface} refuses native XDP ({cause}); take --mode auto or --mode generic")]
    NoNativeMode {
        /// The interface.
        interface: String,
        /// What the kernel says.
        cause: Cause,
    },
    /// Attaching failed.
    #[error("cannot attach to {interface}: {cause}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel says.
        cause: Cause,
    },
    /// The object could not be loaded.
    #[error("cannot load the decapsulator: {cause}; it needs a kernel with BPF and XDP, Linux 5.9 or newer")]
    Load {
        /// Why.
        cause: Cause,
    },
    /// The object lacks something: a build fault.
    #[error("the decapsulator's object has no {0}: rebuild with `cargo xtask build`")]
    Incomplete(&'static str),
    /// A map could not be read or written.
    #[error("the kernel refused to {action} the map {map}: {cause}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        map: &'static str,
        /// What the kernel says.
        cause: Cause,
    },
    /// The machine's network could not be asked.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A system call failed.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        cause: std::io::Error,
    },
}
