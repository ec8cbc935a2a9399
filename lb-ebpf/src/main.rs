//! The XDP program: maps and entry point over lb-common, which decides.
//!
//! Role: bind the pipeline to the kernel. Imports aya-ebpf and lb-common. Always holds: nothing is decided here; the
//! one match from verdict to XDP action is in this file.
#![no_std]
#![no_main]

mod log;
mod maps;
mod object;
mod packet;
mod tables;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::pipeline::{Verdict, process};
use packet::XdpPacket;
use tables::KernelTables;

/// Entry point: one packet in, one XDP action out.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(ctx.ctx);
    let verdict = process(&mut packet, &KernelTables::new(ctx.ctx));
    log::verdict(&ctx, verdict);
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit(_) => xdp_action::XDP_TX,
        Verdict::Redirect(_, ifindex) => maps::redirect(ifindex),
    }
}
