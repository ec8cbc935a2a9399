//! The XDP programs of `lbd decap`: maps and entry points over lb-common, which decides.
//!
//! Role: bind `lb_common::decap` to the kernel on a backend. Imports aya-ebpf and lb-common. Always holds: nothing is
//! decided here; the one match from verdict to XDP action is in this file.
#![no_std]
#![no_main]

mod object;
mod packet;

use aya_ebpf::{
    Global,
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::XdpContext,
};
use lb_common::abi::Address;
use lb_common::decap::{
    DECAP_NUMBERS, DecapReason, DecapTables, DecapVerdict, PrefixKey,
    abi::{ACCEPTED, MAX_ENDS, MAX_SOURCES, MAX_VIPS, OTHER_FAMILY},
    process,
};
use packet::XdpPacket;

/// Room for the entry that keeps the families apart.
const FAMILY_ENTRY: u32 = 1;

#[map]
static LB_DECAP_VIPS: LpmTrie<Address, u32> = LpmTrie::with_max_entries(MAX_VIPS + FAMILY_ENTRY, 0);
#[map]
static LB_DECAP_ENDS: HashMap<Address, u32> = HashMap::with_max_entries(MAX_ENDS, 0);
#[map]
static LB_DECAP_FROM: LpmTrie<Address, u32> = LpmTrie::with_max_entries(MAX_SOURCES + FAMILY_ENTRY, 0);
#[map]
static LB_DECAP_COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(DECAP_NUMBERS, 0);

/// The GUE port as it lies in a packet; the loader sets it.
#[unsafe(no_mangle)]
static GUE_PORT: Global<u32> = Global::new(0);
/// 1 if tunnels may start anywhere; the loader sets it.
#[unsafe(no_mangle)]
static ANY_SOURCE: Global<u32> = Global::new(0);

/// Entry point for frames in one piece.
#[xdp]
pub fn lb_decap(ctx: XdpContext) -> u32 {
    run(&ctx, false)
}

/// Entry point for frames that may come in pieces (Linux 5.18).
#[xdp(frags)]
pub fn lb_decap_frags(ctx: XdpContext) -> u32 {
    run(&ctx, true)
}

#[inline(always)]
fn run(ctx: &XdpContext, pieces: bool) -> u32 {
    let mut packet = XdpPacket::new(ctx.ctx, pieces);
    match process(&mut packet, &KernelTables) {
        DecapVerdict::Pass(_) | DecapVerdict::Deliver(_) => xdp_action::XDP_PASS,
        DecapVerdict::Drop(_) => xdp_action::XDP_DROP,
    }
}

/// The maps of this program, of which there is one set.
struct KernelTables;

impl DecapTables for KernelTables {
    #[inline(always)]
    fn gue_port(&self) -> u16 {
        GUE_PORT.load() as u16
    }

    #[inline(always)]
    fn is_tunnel_address(&self, address: &Address) -> bool {
        // SAFETY: the value is one word, which is read once.
        unsafe { LB_DECAP_ENDS.get(address) }.is_some()
    }

    #[inline(always)]
    fn accepts_source(&self, address: &Address) -> bool {
        ANY_SOURCE.load() != 0 || is_covered(&LB_DECAP_FROM, address)
    }

    #[inline(always)]
    fn is_vip(&self, address: &Address) -> bool {
        is_covered(&LB_DECAP_VIPS, address)
    }

    #[inline(always)]
    fn count(&self, reason: DecapReason) {
        if let Some(packets) = LB_DECAP_COUNT.get_ptr_mut(u32::from(reason.number())) {
            // SAFETY: this CPU's own value of a per-CPU array; XDP programs are not preempted by one another on a CPU.
            unsafe { *packets += 1 };
        }
    }
}

/// Whether the longest prefix of a trie that has the address accepts it.
#[inline(always)]
fn is_covered(trie: &LpmTrie<Address, u32>, address: &Address) -> bool {
    let key = PrefixKey::single(*address);
    // SAFETY: both are a number of bits and an address, one behind the other, in 20 bytes; aya's is packed only, for which
    // the fields would be written byte by byte.
    let key = unsafe { &*core::ptr::from_ref(&key).cast::<Key<Address>>() };
    trie.get(key).is_some_and(|value| *value == ACCEPTED)
}

const _: () = assert!(size_of::<Key<Address>>() == size_of::<PrefixKey>() && ACCEPTED != OTHER_FAMILY);
