//! The datapath's log. At level `off` the verifier sees a constant and removes every line of it.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::{debug, info, warn};
use lb_common::pipeline::Verdict;

/// Logs what happened to a packet: drops at `warn`, forwarded packets at `info`, passed ones at `debug`.
#[inline(always)]
pub fn verdict(ctx: &XdpContext, verdict: Verdict) {
    let number = verdict.number();
    match verdict {
        Verdict::Drop(_) => warn!(ctx, "drop reason {}", number),
        Verdict::Transmit(_) => info!(ctx, "transmit reason {}", number),
        Verdict::Redirect(_, ifindex) => info!(ctx, "redirect reason {} interface {}", number, ifindex),
        Verdict::Pass(_) => debug!(ctx, "pass reason {}", number),
    }
}
