//! The packet of an XDP context.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_adjust_head};
use lb_common::wire::{Packet, Window};

/// A packet that an XDP program was called with.
pub struct XdpPacket {
    ctx: *mut xdp_md,
}

impl XdpPacket {
    /// The packet of `ctx`, which must be the context that the kernel passed to the running program.
    #[inline(always)]
    pub const fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
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
    fn shrink_head(&mut self, bytes: u8) -> bool {
        // SAFETY: as for `grow_head`.
        unsafe { bpf_xdp_adjust_head(self.ctx, i32::from(bytes)) == 0 }
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        // SAFETY: `ctx` is the kernel's context of this run.
        unsafe { (*self.ctx).ingress_ifindex }
    }
}
