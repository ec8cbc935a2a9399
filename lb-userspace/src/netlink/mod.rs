//! What the agent knows and changes of the node's network: links, next hops, VIP addresses, sysctls.
//!
//! Role: rtnetlink and its neighbours (`/proc/sys/net`, ethtool, gratuitous ARP). Imports nothing else of ours.
//! Always holds: nothing here sends a packet except [`announce`] and the kernel's own neighbour discovery; nothing
//! is guessed that the kernel can be asked; every change it makes can be told apart from the operator's
//! ([`VIP_PROTOCOL`], [`sysctl::Change`]).
//!
//! Everything happens in the network namespace of the thread that opens the socket ([`Netlink::open`],
//! [`Resolver::spawn`]) or makes the call ([`sysctl`], [`announce`]).

pub mod announce;
pub mod offload;
pub mod sysctl;

mod connection;
mod error;
mod events;
mod link;
mod neighbour;
mod next_hop;
mod path_mtu;
mod resolver;
mod route;
mod tracker;
mod unreachable;
mod upkeep;
mod vip;
mod vlan;

pub use connection::Netlink;
pub use error::{NetlinkError, NextHopError};
pub use link::{Link, Medium, PortKind, XdpAttachment, XdpAttachmentMode};
pub use neighbour::{CacheState, Neighbour, NeighbourKey};
pub use next_hop::{NeighbourState, NextHop};
pub use resolver::{LinkTable, MAX_DESTINATIONS, NextHopTable, Resolver, ResolverOptions};
pub use unreachable::Network;
pub use vip::{Address, VIP_PROTOCOL};
pub use vlan::{Trunk, Vlan, VlanProtocol, trunk};

/// An Ethernet address.
pub type Mac = [u8; 6];
