//! From a program's context to the pipeline and back: the one match from verdict to XDP action.

use crate::{log, maps, packet::XdpPacket, tables::KernelTables};
use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::abi::{DropReason, PassReason};
use lb_common::pipeline::{Stage, Step, Verdict, fast, run};
use lb_common::tables::Tables;

/// The first program: most packets go no further.
#[inline(always)]
pub fn first(ctx: &XdpContext) -> u32 {
    let mut packet = XdpPacket::new(ctx.ctx, crate::FRAGS);
    let tables = KernelTables::new(ctx.ctx);
    let step = fast(&mut packet, &tables);
    follow(ctx, &tables, step)
}

/// One of those behind it.
#[inline(always)]
pub fn stage(ctx: &XdpContext, stage: Stage) -> u32 {
    let mut packet = XdpPacket::new(ctx.ctx, crate::FRAGS);
    let tables = KernelTables::new(ctx.ctx);
    let Some(work) = maps::LB_WORK.get_ptr_mut(0) else {
        return act(ctx, &tables, Verdict::Drop(DropReason::Inconsistent));
    };
    // SAFETY: this CPU's own value of a per-CPU array; XDP programs are not preempted by one another on a CPU, and the
    // programs of one packet run one after the other.
    let step = run(stage, &mut packet, &tables, unsafe { &mut *work });
    follow(ctx, &tables, step)
}

#[inline(always)]
fn follow(ctx: &XdpContext, tables: &KernelTables, step: Step) -> u32 {
    match step {
        Step::Done(verdict) => act(ctx, tables, verdict),
        Step::Go(stage) => {
            // SAFETY: a tail call replaces this program; it returns only if there is no such program.
            let _ = unsafe { maps::LB_STAGES.tail_call(ctx, stage as u32) };
            act(ctx, tables, Verdict::Pass(PassReason::Unavailable))
        }
    }
}

#[inline(always)]
fn act(ctx: &XdpContext, tables: &KernelTables, verdict: Verdict) -> u32 {
    tables.count_verdict(verdict.number());
    log::verdict(ctx, verdict);
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit(_) => xdp_action::XDP_TX,
        Verdict::Redirect(_, ifindex) => maps::redirect(ifindex),
    }
}
