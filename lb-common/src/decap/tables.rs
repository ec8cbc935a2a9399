//! What decapsulation asks of maps: the kernel program and host tests answer it each in their way.

use super::DecapReason;
use crate::abi::Address;

/// What a machine accepts.
pub trait DecapTables {
    /// The GUE port, as it lies in a packet.
    fn gue_port(&self) -> u16;

    /// Whether tunnels to this address end here.
    fn is_tunnel_address(&self, address: &Address) -> bool;

    /// Whether tunnels may start from this address.
    fn accepts_source(&self, address: &Address) -> bool;

    /// Whether packets to this address may be taken out of a tunnel.
    fn is_vip(&self, address: &Address) -> bool;

    /// Counts a frame.
    fn count(&self, reason: DecapReason);
}

/// Tables in memory. Fields are public: whoever owns one fills it.
#[cfg(any(feature = "host", test))]
#[derive(Clone, Debug)]
pub struct MemDecapTables {
    /// The GUE port.
    pub gue_port: u16,
    /// Tunnel addresses of the machine.
    pub ends: std::collections::BTreeSet<Address>,
    /// Where tunnels may start from; none: anywhere.
    pub sources: Option<Vec<super::PrefixKey>>,
    /// The VIPs.
    pub vips: Vec<super::PrefixKey>,
    /// Frames by reason number.
    pub counters: std::cell::RefCell<std::collections::BTreeMap<u8, u64>>,
}

#[cfg(any(feature = "host", test))]
impl Default for MemDecapTables {
    fn default() -> Self {
        Self {
            gue_port: super::abi::DEFAULT_GUE_PORT,
            ends: std::collections::BTreeSet::new(),
            sources: None,
            vips: Vec::new(),
            counters: std::cell::RefCell::default(),
        }
    }
}

#[cfg(any(feature = "host", test))]
impl DecapTables for MemDecapTables {
    fn gue_port(&self) -> u16 {
        self.gue_port.to_be()
    }

    fn is_tunnel_address(&self, address: &Address) -> bool {
        self.ends.contains(address)
    }

    fn accepts_source(&self, address: &Address) -> bool {
        self.sources.as_ref().is_none_or(|prefixes| prefixes.iter().any(|prefix| prefix.covers(address)))
    }

    fn is_vip(&self, address: &Address) -> bool {
        self.vips.iter().any(|prefix| prefix.covers(address))
    }

    fn count(&self, reason: DecapReason) {
        *self.counters.borrow_mut().entry(reason.number()).or_default() += 1;
    }
}
