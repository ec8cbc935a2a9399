//! By which ways frames may leave: MACs, interface, tags and MTU of a backend or a client.
//!
//! Imports `fib`, `fixtures` and lb-common's types.

use super::{Judgement, Passage, Rules};
use crate::fixtures::{Reach, World};
use crate::fuzz::anatomy::ETHERNET;
use crate::fuzz::fib::macs;
use lb_common::abi::{Backend, BackendFlags, ip_address};
use std::net::IpAddr;

/// How a frame may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Destination and source MAC.
    pub macs: [u8; 12],
    /// The interface.
    pub ifindex: u32,
    /// VLAN tags.
    pub tags: Vec<u8>,
    /// Longest IP packet.
    pub mtu_bytes: u16,
}

impl Way {
    /// By an interface, which may be a VLAN's.
    fn new(world: &World, macs: [u8; 12], ifindex: u32, mtu_bytes: u16) -> Self {
        match world.links.get(&ifindex) {
            None => Self { macs, ifindex, tags: Vec::new(), mtu_bytes },
            Some(link) => {
                let tags = link.tags.into_iter().filter(|tag| *tag != 0).flat_map(u32::to_ne_bytes);
                Self { macs, ifindex: link.port, tags: tags.collect(), mtu_bytes }
            }
        }
    }

    /// Whether a frame left this way.
    pub fn took(&self, passage: &Passage<'_>, ifindex: u32) -> Judgement {
        if self.ifindex != ifindex {
            return Err(format!("it left by interface {ifindex}, not {}", self.ifindex));
        }
        if passage.output.get(..12) != Some(&self.macs) {
            return Err("the MACs are not those of the next hop".to_owned());
        }
        if passage.output.get(12..passage.after.network - (ETHERNET - 12)) != Some(&self.tags) {
            return Err(format!("the tags are not {:02x?}", self.tags));
        }
        let length = passage.after.length();
        if length > usize::from(self.mtu_bytes) {
            return Err(format!("{length} bytes went a way that takes {}", self.mtu_bytes));
        }
        Ok(())
    }
}

impl Rules {
    /// The way to a backend.
    pub(super) fn way_to_backend(&self, backend: &Backend) -> Result<Way, String> {
        if backend.flags & BackendFlags::RESOLVED == 0 {
            return self.way_to(ip_address(backend.address));
        }
        let macs: [u8; 12] = bytemuck::cast(backend.ethernet);
        let way = Way::new(&self.world, macs, backend.ifindex, backend.mtu_bytes);
        let is_tagged = backend.flags & BackendFlags::TAGGED != 0;
        if is_tagged == way.tags.is_empty() {
            return Err("the world contradicts itself about a backend's tags".to_owned());
        }
        Ok(way)
    }

    /// The way that the routing table knows.
    pub(super) fn way_to(&self, destination: IpAddr) -> Result<Way, String> {
        match self.world.routes.get(&destination) {
            Some(Reach::Neighbour | Reach::Narrow | Reach::Tagged) => {
                let (ifindex, mtu_bytes) = (self.fib.ifindex(destination), self.fib.mtu_bytes(destination));
                Ok(Way::new(&self.world, macs(destination), ifindex, mtu_bytes))
            }
            _ => Err(format!("there is no way to {destination}")),
        }
    }

    /// The longest IP packet that the way to a backend takes, if there is one, a neighbour whose MAC is missing included.
    pub(super) fn mtu_to_backend(&self, backend: &Backend) -> u16 {
        if backend.flags & BackendFlags::RESOLVED == 0 {
            self.fib.mtu_bytes(ip_address(backend.address))
        } else {
            backend.mtu_bytes
        }
    }
}
