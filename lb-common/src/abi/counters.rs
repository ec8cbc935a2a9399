//! Per-CPU counters. Bytes are those of the IP packet, without Ethernet and without what forwarding adds.

use bytemuck::{Pod, Zeroable};

/// Traffic of one frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceCounters {
    /// Packets from clients that were forwarded.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// TCP SYNs among them; 0 for UDP.
    pub new_connections: u64,
    /// Bytes of replies that passed the node (`nat` only).
    pub reply_bytes: u64,
}

/// Traffic of one backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendCounters {
    /// Packets from clients that were forwarded to it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// TCP SYNs among them; 0 for UDP.
    pub new_connections: u64,
    /// Bytes of its replies that passed the node (`nat` only).
    pub reply_bytes: u64,
}

const _: () = assert!(size_of::<ServiceCounters>() == 32);
const _: () = assert!(size_of::<BackendCounters>() == 32);
