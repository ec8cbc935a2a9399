//! The bench's driver: BPF_PROG_TEST_RUN does not restore a packet between repetitions, so this program does, varies
//! the flow, and tail-calls the program under test.
//!
//! Role: bench only, never attached. Always holds: it writes every byte that a forward mode changes and nothing else,
//! so that its own cost, measured with a program that only transmits, stays small against what it measures.
#![no_std]
#![no_main]

mod object;

use aya_ebpf::{
    Global,
    bindings::xdp_action,
    helpers::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};

/// The program under test, at index 0.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// Number of the packet.
#[map]
static SEQUENCE: Array<u32> = Array::with_max_entries(1, 0);

/// Number of flows less one; a power of two less one.
#[unsafe(no_mangle)]
static FLOW_MASK: Global<u32> = Global::new(0);
/// Length of the frame as it was given to the kernel.
#[unsafe(no_mangle)]
static FRAME_BYTES: Global<u32> = Global::new(74);
/// What the program under test adds in front of it.
#[unsafe(no_mangle)]
static GROWTH_BYTES: Global<u32> = Global::new(0);
/// 1 for IPv6.
#[unsafe(no_mangle)]
static IPV6: Global<u32> = Global::new(0);
/// Last word of the VIP, as it lies in the packet.
#[unsafe(no_mangle)]
static VIP: Global<u32> = Global::new(0);
/// Port of the VIP, as it lies in the packet.
#[unsafe(no_mangle)]
static PORT: Global<u32> = Global::new(0);

/// Client addresses start here (10.0.0.0).
const CLIENTS: u32 = 0x0a00_0000;
/// The port of every client.
const CLIENT_PORT: u16 = 40_000;

/// Restores the packet, gives it the next flow, and hands it on.
#[xdp]
pub fn bench_driver(ctx: XdpContext) -> u32 {
    if ctx.data() + (FRAME_BYTES.load() as usize) < ctx.data_end() {
        // SAFETY: the context is the running program's.
        let result = unsafe { bpf_xdp_adjust_head(ctx.ctx, GROWTH_BYTES.load() as i32) };
        if result != 0 {
            return xdp_action::XDP_ABORTED;
        }
    }
    let Some(sequence) = SEQUENCE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: a test run has the map to itself.
    let flow = unsafe {
        *sequence = (*sequence).wrapping_add(1);
        *sequence
    } & FLOW_MASK.load();
    let client = (CLIENTS | flow).to_be();
    let written = if IPV6.load() != 0 { write_ipv6(&ctx, client) } else { write_ipv4(&ctx, client) };
    if !written {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: a tail call replaces this program; it returns only if there is no target.
    let _ = unsafe { TARGET.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

/// What the floor is measured with.
#[xdp]
pub fn bench_floor(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The client's port and the service's, as they lie in a packet.
#[inline(always)]
fn ports() -> u32 {
    u32::from(CLIENT_PORT.to_be()) | PORT.load() << 16
}

#[inline(always)]
fn write_ipv4(ctx: &XdpContext, client: u32) -> bool {
    let start = ctx.data();
    if start + 54 > ctx.data_end() {
        return false;
    }
    // SAFETY: all offsets are below 54, and the packet is at least that long; BPF has no alignment faults here.
    unsafe {
        *((start + 12) as *mut u16) = 0x0800_u16.to_be();
        *((start + 14) as *mut u32) = 0x4500_003c_u32.to_be();
        *((start + 22) as *mut u16) = 0x4006_u16.to_be();
        *((start + 26) as *mut u32) = client;
        *((start + 30) as *mut u32) = VIP.load();
        *((start + 34) as *mut u32) = ports();
    }
    true
}

#[inline(always)]
fn write_ipv6(ctx: &XdpContext, client: u32) -> bool {
    let start = ctx.data();
    if start + 74 > ctx.data_end() {
        return false;
    }
    // SAFETY: all offsets are below 74, and the packet is at least that long; BPF has no alignment faults here.
    unsafe {
        *((start + 12) as *mut u16) = 0x86dd_u16.to_be();
        *((start + 18) as *mut u32) = 0x0014_0640_u32.to_be();
        *((start + 22) as *mut u32) = 0x2001_0db8_u32.to_be();
        *((start + 26) as *mut u32) = 0x0002_0000_u32.to_be();
        *((start + 30) as *mut u32) = 0;
        *((start + 34) as *mut u32) = client;
        *((start + 38) as *mut u32) = 0x2001_0db8_u32.to_be();
        *((start + 42) as *mut u32) = 0;
        *((start + 46) as *mut u32) = 0;
        *((start + 50) as *mut u32) = VIP.load();
        *((start + 54) as *mut u32) = ports();
    }
    true
}
