//! The packet of an XDP context.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
};
use lb_common::wire::{Packet, Window};

/// A packet that an XDP program was called with.
pub struct XdpPacket {
    ctx: *mut xdp_md,
    /// Whether there may be more of it than the window shows.
    pieces: bool,
}

impl XdpPacket {
    /// The packet of `ctx`, which must be the context that the kernel passed to the running program; `pieces` says that the
    /// program takes packets in several (multi-buffer XDP).
    #[inline(always)]
    pub const fn new(ctx: *mut xdp_md, pieces: bool) -> Self {
        Self { ctx, pieces }
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn window(&self) -> Window<'_> {
        // SAFETY: `ctx` is the kernel's context of this run; data to data_end are the packet's bytes, ours alone until
        // the program returns. `grow_head` takes `&mut self`, so no window outlives a move of the head.
        unsafe { Window::new((*self.ctx).data as usize, (*self.ctx).data_end as usize) }
    }

    #[inline(always)]
    fn grow_head(&mut self, bytes: u8) -> bool {
        // SAFETY: `ctx` is the kernel's context of this run, which is what the helper asks for.
        unsafe { bpf_xdp_adjust_head(self.ctx, -i32::from(bytes)) == 0 }
    }

    #[inline(always)]
    fn len_bytes(&self) -> usize {
        if self.pieces {
            // SAFETY: `ctx` is the kernel's context of this run, which is what the helper asks for.
            unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
        } else {
            self.window().len()
        }
    }

    #[inline(always)]
    fn shrink_head(&mut self, bytes: u8) -> bool {
        // SAFETY: as for growing.
        unsafe { bpf_xdp_adjust_head(self.ctx, i32::from(bytes)) == 0 }
    }

    #[inline(always)]
    fn trim(&mut self, bytes: usize) -> bool {
        let less = bytes as i32 - self.len_bytes() as i32;
        // SAFETY: as for the head.
        less <= 0 && unsafe { bpf_xdp_adjust_tail(self.ctx, less) == 0 }
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: `ctx` is the kernel's context of this run.
        unsafe { (*self.ctx).ingress_ifindex }
    }
}
