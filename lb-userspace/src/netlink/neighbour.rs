//! Neighbour cache entries, and how the kernel is made to find or confirm one.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE};
use rustix::io::Errno;

use super::connection::family_of;
use super::{Mac, Netlink, NetlinkError};

/// A tick of the ages in `NDA_CACHEINFO`: `USER_HZ` is 100 on every architecture that we build for.
const CACHE_INFO_TICK: Duration = Duration::from_millis(10);

/// What the kernel keeps a neighbour under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourKey {
    /// The interface that it is reached through.
    pub ifindex: u32,
    /// Its address on that link.
    pub address: IpAddr,
}

/// A neighbour as the kernel's cache has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// State of the entry.
    pub state: CacheState,
    /// Link-layer address, while the kernel believes in one.
    pub mac: Option<Mac>,
    /// Time since it last proved to be there; accurate to 10 ms.
    pub confirmed_age: Duration,
}

/// State of a neighbour cache entry (RFC 4861 section 7.3.2; ARP entries have the same states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheState {
    /// No entry, or one that nobody asked for yet.
    Missing,
    /// The kernel is asking for it.
    Incomplete,
    /// Confirmed recently.
    Reachable,
    /// Not confirmed recently; the link-layer address is still used.
    Stale,
    /// About to be confirmed, or being confirmed.
    Probing,
    /// Asked for, no answer.
    Failed,
    /// Set by the operator or another program, which alone changes it.
    Static,
}

impl Neighbour {
    /// What is known of a neighbour that the cache does not have.
    pub const MISSING: Self = Self { state: CacheState::Missing, mac: None, confirmed_age: Duration::MAX };
}

impl Netlink {
    /// The kernel's cache entry for a neighbour.
    ///
    /// # Errors
    /// When the kernel cannot be asked. A missing entry, and one on an interface that is gone, is no error.
    pub async fn neighbour(&self, key: NeighbourKey) -> Result<Neighbour, NetlinkError> {
        let operation = "look up a neighbour";
        let message = RouteNetlinkMessage::GetNeighbour(entry(key));
        match self.request(operation, message, 0).await {
            Err(error) if matches!(error.refusal(), Some(Errno::NOENT | Errno::NODEV)) => {
                Ok(Neighbour::MISSING)
            }
            Err(error) => Err(error),
            Ok(answers) => answers
                .iter()
                .find_map(|answer| match answer {
                    RouteNetlinkMessage::NewNeighbour(message) => Some(from_message(message)),
                    _ => None,
                })
                .ok_or(NetlinkError::Closed { operation }),
        }
    }

    /// Makes the kernel resolve a neighbour, or confirm the one that it has, by its own ARP or neighbour
    /// solicitation. Returns at once; the answer arrives in the cache. Static entries are left alone.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because the interface is down or gone.
    pub async fn resolve_neighbour(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let key = NeighbourKey { ifindex, address };
        match self.neighbour(key).await?.state {
            CacheState::Static | CacheState::Incomplete | CacheState::Probing => Ok(()),
            CacheState::Missing | CacheState::Failed => self.ask_for_neighbour(key).await,
            CacheState::Reachable | CacheState::Stale => self.confirm_neighbour(key).await,
        }
    }

    /// Starts resolution of a neighbour without a link-layer address. Never call it for a static entry: the
    /// kernel's `NTF_USE` would take its permanence away.
    pub(super) async fn ask_for_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        let mut message = entry(key);
        message.header.flags = NeighbourFlags::Use;
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.request("resolve a neighbour", message, NLM_F_ACK | NLM_F_CREATE).await.map(drop)
    }

    /// Starts the probes that confirm a neighbour's known link-layer address; it stays in use meanwhile.
    ///
    /// Without `NLM_F_REPLACE`, so that the kernel leaves a router's flag on the entry alone (RFC 4861 7.3.3 would
    /// have it drop default routes through it). An entry that meanwhile vanished or failed is no error.
    pub(super) async fn confirm_neighbour(&self, key: NeighbourKey) -> Result<(), NetlinkError> {
        let mut message = entry(key);
        message.header.state = Nud::Probe;
        let message = RouteNetlinkMessage::NewNeighbour(message);
        match self.request("confirm a neighbour", message, NLM_F_ACK).await {
            Err(error) if matches!(error.refusal(), Some(Errno::NOENT | Errno::INVAL)) => Ok(()),
            other => other.map(drop),
        }
    }
}

fn entry(key: NeighbourKey) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(key.address);
    message.header.ifindex = key.ifindex;
    message.attributes.push(NeighbourAttribute::Destination(match key.address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
    message
}

/// Which entry a message is about; none for entries that are not IP (bridge forwarding entries).
pub(super) fn key_of(message: &NeighbourMessage) -> Option<NeighbourKey> {
    message.attributes.iter().find_map(|attribute| {
        let address = match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => IpAddr::V4(*address),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => IpAddr::V6(*address),
            _ => return None,
        };
        Some(NeighbourKey { ifindex: message.header.ifindex, address })
    })
}

fn from_message(message: &NeighbourMessage) -> Neighbour {
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    let confirmed_age = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::CacheInfo(info) => Some(CACHE_INFO_TICK.saturating_mul(info.confirmed)),
        _ => None,
    });
    let state = cache_state(message.header.state, message.header.flags);
    let usable = !matches!(state, CacheState::Missing | CacheState::Incomplete | CacheState::Failed);
    Neighbour { state, mac: mac.filter(|_| usable), confirmed_age: confirmed_age.unwrap_or(Duration::MAX) }
}

fn cache_state(state: Nud, flags: NeighbourFlags) -> CacheState {
    match state {
        Nud::Permanent | Nud::Noarp => CacheState::Static,
        Nud::Incomplete => CacheState::Incomplete,
        Nud::Failed => CacheState::Failed,
        // Learned by a routing daemon (EVPN), which keeps it true itself.
        Nud::Reachable | Nud::Stale if flags.contains(NeighbourFlags::ExtLearned) => CacheState::Static,
        Nud::Reachable => CacheState::Reachable,
        Nud::Stale => CacheState::Stale,
        Nud::Delay | Nud::Probe => CacheState::Probing,
        _ => CacheState::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(state: Nud, flags: NeighbourFlags) -> Neighbour {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        message.header.flags = flags;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]));
        from_message(&message)
    }

    #[test]
    fn every_kernel_state_has_its_meaning() {
        let state = |nud| neighbour(nud, NeighbourFlags::empty()).state;
        assert_eq!(state(Nud::None), CacheState::Missing);
        assert_eq!(state(Nud::Incomplete), CacheState::Incomplete);
        assert_eq!(state(Nud::Reachable), CacheState::Reachable);
        assert_eq!(state(Nud::Stale), CacheState::Stale);
        assert_eq!(state(Nud::Delay), CacheState::Probing);
        assert_eq!(state(Nud::Probe), CacheState::Probing);
        assert_eq!(state(Nud::Failed), CacheState::Failed);
        assert_eq!(state(Nud::Noarp), CacheState::Static);
        assert_eq!(state(Nud::Permanent), CacheState::Static);
    }

    #[test]
    fn entries_of_a_routing_daemon_are_left_to_it() {
        assert_eq!(neighbour(Nud::Reachable, NeighbourFlags::ExtLearned).state, CacheState::Static);
    }

    #[test]
    fn a_failed_entry_has_no_address_that_may_be_used() {
        assert_eq!(neighbour(Nud::Failed, NeighbourFlags::empty()).mac, None);
        assert_eq!(neighbour(Nud::Stale, NeighbourFlags::empty()).mac, Some([2, 0, 0, 0, 0, 1]));
    }
}
