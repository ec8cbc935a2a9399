//! Interfaces that frames leave by under another name: VLANs.

use bytemuck::{Pod, Zeroable};

/// The port under a VLAN interface, and the tags that its frames carry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Link {
    /// Interface to send by.
    pub port: u32,
    /// Tags from the outer one on, each with its type and as it lies in a frame; 0 where there is none.
    pub tags: Tags,
}

/// Up to two VLAN tags (802.1Q, 802.1ad), outer one first, as they lie in a frame; 0 where there is none.
pub type Tags = [u32; 2];

/// Bytes that tags take.
#[inline(always)]
pub const fn tags_bytes([outer, inner]: Tags) -> usize {
    4 * ((outer != 0) as usize + (inner != 0) as usize)
}

const _: () = assert!(size_of::<Link>() == 12);
