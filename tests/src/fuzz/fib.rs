//! What `bpf_fib_lookup` answers in the fixtures' world, for any packet: a model of the kernel's routing table.
//!
//! Imports `fixtures` and lb-common. The rules are those of `bpf_ipv4_fib_lookup` and `bpf_ipv6_fib_lookup`
//! (net/core/filter.c) over the routes that the kernel tier sets up: a route for each address of the world, no default.

use crate::fixtures::{EGRESS, NARROW_BYTES, NODE_MAC, Reach, VLAN, WIDE_BYTES, World, neighbour_mac};
use lb_common::abi::ip_address;
use lb_common::tables::{NextHop, Route, RouteAnswer, RouteQuestion, Router};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The routing table.
#[derive(Clone, Debug)]
pub struct Fib {
    routes: BTreeMap<IpAddr, Reach>,
}

/// Destination and source MAC of frames from the node to a neighbour.
pub fn macs(neighbour: IpAddr) -> [u8; 12] {
    let (destination, source) = (neighbour_mac(neighbour), NODE_MAC);
    std::array::from_fn(|at| if at < 6 { destination[at] } else { source[at - 6] })
}

/// Addresses that the kernel never routes to or from (`rt6_need_strict`).
fn is_strict(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

impl Fib {
    /// That of a world.
    pub fn new(world: &World) -> Self {
        Self { routes: world.routes.clone() }
    }

    /// The longest IP packet that the way to an address takes, if there is one.
    pub fn mtu_bytes(&self, destination: IpAddr) -> u16 {
        if self.routes.get(&destination) == Some(&Reach::Narrow) { NARROW_BYTES } else { WIDE_BYTES }
    }

    /// Interface by which the way to an address leaves.
    pub fn ifindex(&self, destination: IpAddr) -> u32 {
        if self.routes.get(&destination) == Some(&Reach::Tagged) { VLAN.0 } else { EGRESS }
    }

    /// The answer about an IP packet of `length` bytes.
    pub fn ask(&self, source: IpAddr, destination: IpAddr, length: usize) -> RouteAnswer {
        if is_strict(source) || is_strict(destination) {
            return RouteAnswer::ToNode;
        }
        let fits = |else_answer| {
            if length > usize::from(self.mtu_bytes(destination)) { RouteAnswer::TooBig } else { else_answer }
        };
        match self.routes.get(&destination) {
            Some(Reach::Neighbour | Reach::Narrow | Reach::Tagged) => fits(RouteAnswer::Found),
            Some(Reach::Unknown) => fits(RouteAnswer::NoNeighbour),
            Some(Reach::Blackhole) => RouteAnswer::None,
            // "No route" and "the node's own" are one answer: BPF_FIB_LKUP_RET_NOT_FWDED.
            Some(Reach::Node | Reach::Nothing) | None => RouteAnswer::ToNode,
        }
    }
}

impl Router for Fib {
    fn route(&self, question: &RouteQuestion) -> Route {
        let destination = ip_address(question.destination);
        let length = usize::from(question.length_bytes);
        match self.ask(ip_address(question.source), destination, length) {
            RouteAnswer::Found => Route {
                answer: RouteAnswer::Found,
                hop: NextHop {
                    ethernet: bytemuck::cast(macs(destination)),
                    ifindex: self.ifindex(destination),
                },
                mtu_bytes: 0,
            },
            // Since 5.12 (commit 2c0a10af688c) the kernel says what would fit.
            RouteAnswer::TooBig => {
                Route { mtu_bytes: self.mtu_bytes(destination), ..Route::without_hop(RouteAnswer::TooBig) }
            }
            other => Route::without_hop(other),
        }
    }
}
