//! The decision core of the load balancer, and the ABI of its maps.
//!
//! Role: everything that decides about a packet, once, for the kernel, the agent, `lbctl explain`, the simulator and
//! the fuzzer. Imports core, network-types and bytemuck only; what needs std is behind the `host` feature.
//! Always holds: nothing here panics on any packet, and packet memory is touched only through [`wire::Window`].
// For one register constraint without an instruction, see `wire::Window::chunk_at`; aya-ebpf asks for the same.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(not(any(feature = "host", test)), no_std)]
#![allow(clippy::inline_always, reason = "BPF functions return scalars only: every stage has to be inlined")]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod abi;
pub mod decap;
pub mod hash;
#[cfg(any(feature = "host", test))]
pub mod maglev;
pub mod pipeline;
pub mod tables;
pub mod wire;
