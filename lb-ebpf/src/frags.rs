//! The same programs for packets that may lie in several pieces (multi-buffer XDP, Linux 5.18): large MTUs need them. The
//! kernel does not mix the two kinds, so each is an object of its own.
#![no_std]
#![no_main]

mod entry;
mod log;
mod maps;
mod object;
mod packet;
mod tables;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use lb_common::pipeline::Stage;

/// Whether packets may lie in several pieces.
const FRAGS: bool = true;

/// Entry point: one packet in, one XDP action out.
#[xdp(frags)]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    entry::first(&ctx)
}

/// What the fast path left.
#[xdp(frags)]
pub fn lb_examine(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Examine)
}

/// To backends, and replies.
#[xdp(frags)]
pub fn lb_deliver(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Deliver)
}

/// `full-nat`.
#[xdp(frags)]
pub fn lb_session(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Session)
}

/// ICMP.
#[xdp(frags)]
pub fn lb_icmp(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Icmp)
}

/// Answers of the node's own.
#[xdp(frags)]
pub fn lb_answer(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Answer)
}
