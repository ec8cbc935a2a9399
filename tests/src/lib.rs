//! The lab (topologies of network namespaces), our own small programs that run in it, and what the tests share.
//!
//! Used by the end-to-end tests and by `cargo xtask lab` and `cargo xtask run`. Synchronous code only (but for the two
//! programs that hold thousands of connections), and nothing of lb-userspace: xtask links this library before the eBPF
//! object, and so the agent, can be built.
//! Needs root and Linux 5.19 (veth that receives XDP frames with GRO on since 5.13, `gro_max_size` since 5.19).

pub mod agent;
pub mod bins;
pub mod bpf;
pub mod configuration;
pub mod decap_fixtures;
pub mod fixtures;
pub mod fuzz;
pub mod hex;
pub mod hosts;
pub mod http;
pub mod lab;
pub mod mariadb;
pub mod nginx;
pub mod programs;
pub mod site;
pub mod three_tiers;
pub mod unbroken;
pub mod upload;
pub mod xdp;
