//! A packet in ordinary memory, for tests, the simulator and `lbctl explain`.

use super::{Packet, Window, ethernet};

/// Byte that unused room is filled with, so that an unwritten byte shows.
const POISON: u8 = 0xa5;

/// Room in front of a packet: what native XDP gives (`XDP_PACKET_HEADROOM`).
const HEADROOM_BYTES: usize = 256;

/// A packet in a buffer with poisoned room in front.
#[derive(Clone, Debug)]
pub struct BufferPacket {
    bytes: Vec<u8>,
    head: usize,
    ifindex: u32,
}

impl BufferPacket {
    /// A copy of `frame`, as if it had come in by interface `ifindex`.
    pub fn new(frame: &[u8], ifindex: u32) -> Self {
        let mut bytes = vec![POISON; HEADROOM_BYTES];
        bytes.extend_from_slice(frame);
        Self { bytes, head: HEADROOM_BYTES, ifindex }
    }

    /// The frame as it is now.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }
}

impl Packet for BufferPacket {
    fn window(&self) -> Window<'_> {
        let range = self.frame().as_ptr_range();
        // SAFETY: the range is the tail of our own vector; the pipeline holds the packet exclusively while it works
        // on the window, and nothing reads `bytes` meanwhile.
        unsafe { Window::new(range.start as usize, range.end as usize) }
    }

    fn grow_head(&mut self, bytes: u8) -> bool {
        match self.head.checked_sub(usize::from(bytes)) {
            Some(head) => {
                self.head = head;
                true
            }
            None => false,
        }
    }

    fn shrink_head(&mut self, bytes: u8) -> bool {
        // As the kernel's helper, which leaves an Ethernet header's length at least.
        if self.frame().len() < usize::from(bytes) + ethernet::LEN {
            return false;
        }
        self.head += usize::from(bytes);
        true
    }

    fn ingress_ifindex(&self) -> u32 {
        self.ifindex
    }
}
