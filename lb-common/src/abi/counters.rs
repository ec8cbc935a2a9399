//! Per-CPU counters. Bytes are those of the IP packet, without Ethernet and without what forwarding adds.

use bytemuck::{Pod, Zeroable};

/// Traffic of a frontend or of a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TrafficCounters {
    /// Packets from clients that were forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// TCP SYNs among them; 0 for UDP.
    pub new_connections: u64,
    /// Bytes of replies that passed the node (`nat` only).
    pub reply_bytes: u64,
}

impl TrafficCounters {
    /// Counts one packet from a client, of `bytes`, that `opens` a connection or does not.
    #[inline(always)]
    pub fn count(&mut self, bytes: u32, opens: bool) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(u64::from(bytes));
        if opens {
            self.new_connections = self.new_connections.wrapping_add(1);
        }
    }

    /// Counts one reply of `bytes`.
    #[inline(always)]
    pub fn count_reply(&mut self, bytes: u32) {
        self.reply_bytes = self.reply_bytes.wrapping_add(u64::from(bytes));
    }

    /// The sum of two, such as those of two CPUs.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            new_connections: self.new_connections.wrapping_add(other.new_connections),
            reply_bytes: self.reply_bytes.wrapping_add(other.reply_bytes),
        }
    }
}

/// Traffic of one frontend.
pub type ServiceCounters = TrafficCounters;

/// Traffic of one backend.
pub type BackendCounters = TrafficCounters;

const _: () = assert!(size_of::<TrafficCounters>() == 32);
