//! The interface, and what may be in the way there.

use super::DecapError;
use crate::dataplane::kernel::program_name;
use crate::netlink::{Link, Medium, Netlink, NetlinkError};
use lb_common::abi::names;
use lb_common::decap::abi;
use rustix::thread::CapabilitySet;

/// Interfaces that are named in an error at most.
const MAX_NAMES_SHOWN: usize = 16;

/// Capabilities that are needed, each with those that do. `PERFMON` lets the verifier accept the length of a packet, a
/// difference of pointers, and spares the program what keeps other users' programs from guessing at memory.
const NEEDED: [(&str, CapabilitySet); 3] = [
    ("CAP_BPF", CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN)),
    ("CAP_PERFMON", CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN)),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
];

/// Checks the effective capabilities of this thread.
///
/// # Errors
/// [`DecapError::Privileges`] with all that are missing.
pub fn check_privileges() -> Result<(), DecapError> {
    let sets = rustix::thread::capabilities(None)
        .map_err(|error| DecapError::System { what: "asking for capabilities", cause: error.into() })?;
    let lacks = |which: &&(&str, CapabilitySet)| !sets.effective.intersects(which.1);
    let missing: Vec<&str> = NEEDED.iter().filter(lacks).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(DecapError::Privileges { missing: missing.join(", ") }) }
}

/// The interface, if it has Ethernet frames and no XDP program.
///
/// # Errors
/// When it is missing, of another kind, or taken.
pub async fn free_interface(netlink: &Netlink, name: &str) -> Result<Link, DecapError> {
    let link = match netlink.link_by_name(name).await {
        Ok(link) => link,
        Err(NetlinkError::NoSuchLink { .. }) => {
            let links = netlink.links().await?;
            let names: Vec<String> = links.into_iter().map(|link| link.name).take(MAX_NAMES_SHOWN).collect();
            return Err(DecapError::NoInterface { interface: name.to_owned(), present: names.join(", ") });
        }
        Err(error) => return Err(error.into()),
    };
    if link.medium != Medium::Ethernet {
        return Err(DecapError::NotEthernet { interface: name.to_owned() });
    }
    match link.xdp {
        Some(xdp) => Err(taken(name, xdp.program_id)),
        None => Ok(link),
    }
}

/// Whose program is in the way.
pub fn taken(interface: &str, id: u32) -> DecapError {
    let interface = interface.to_owned();
    match program_name(id) {
        Some(name) if name == abi::PROGRAM || name == abi::PROGRAM_FRAGS => {
            DecapError::OtherDecap { interface, id }
        }
        Some(name) if name == names::PROGRAM => DecapError::Node { interface, id },
        name => {
            DecapError::Foreign { interface, name: name.unwrap_or_else(|| "without a name".to_owned()), id }
        }
    }
}
