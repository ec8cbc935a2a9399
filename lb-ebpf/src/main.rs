//! The XDP programs: maps and entry points over lb-common, which decides. For packets in one piece.
//!
//! Role: bind the pipeline to the kernel. Imports aya-ebpf and lb-common. Always holds: nothing is decided here.
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
const FRAGS: bool = false;

/// Entry point: one packet in, one XDP action out.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    entry::first(&ctx)
}

/// What the fast path left.
#[xdp]
pub fn lb_examine(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Examine)
}

/// To backends, and replies.
#[xdp]
pub fn lb_deliver(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Deliver)
}

/// `full-nat`.
#[xdp]
pub fn lb_session(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Session)
}

/// ICMP.
#[xdp]
pub fn lb_icmp(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Icmp)
}

/// Answers of the node's own.
#[xdp]
pub fn lb_answer(ctx: XdpContext) -> u32 {
    entry::stage(&ctx, Stage::Answer)
}
