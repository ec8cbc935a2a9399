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
    /// Bytes of the frame that are not in the window.
    behind_bytes: usize,
    ifindex: u32,
}

impl BufferPacket {
    /// A copy of `frame`, as if it had come in by interface `ifindex`.
    pub fn new(frame: &[u8], ifindex: u32) -> Self {
        let mut bytes = vec![POISON; HEADROOM_BYTES];
        bytes.extend_from_slice(frame);
        Self { bytes, head: HEADROOM_BYTES, behind_bytes: 0, ifindex }
    }

    /// The same with `behind_bytes` more in other pieces, as drivers hand over frames that are larger than a page.
    pub fn first_piece(piece: &[u8], behind_bytes: usize, ifindex: u32) -> Self {
        Self { behind_bytes, ..Self::new(piece, ifindex) }
    }

    /// The frame as it is now, as far as it is in the window.
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

    fn len_bytes(&self) -> usize {
        self.frame().len() + self.behind_bytes
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
        let head = self.head + usize::from(bytes);
        // The kernel keeps an Ethernet header's length (bpf_xdp_adjust_head).
        let enough = head + ethernet::LEN <= self.bytes.len();
        if enough {
            self.head = head;
        }
        enough
    }

    fn trim(&mut self, bytes: usize) -> bool {
        let enough = bytes >= ethernet::LEN && bytes <= self.len_bytes();
        if enough {
            self.behind_bytes = bytes.saturating_sub(self.frame().len());
            self.bytes.truncate(self.head + bytes);
        }
        enough
    }

    fn ingress_ifindex(&self) -> u32 {
        self.ifindex
    }
}
