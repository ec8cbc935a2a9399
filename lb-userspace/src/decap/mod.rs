//! `lbd decap`: the other end of the tunnels, on a backend.
//!
//! Role: loads and attaches the programs of `lb_common::decap`, tells them the VIPs and the machine's tunnel addresses,
//! prints their counters, and says what else the machine needs. Imports dataplane (names of programs), netlink; aya.
//! Always holds: nothing is pinned, so that the end of the process, however it comes about, is the end of the program on
//! the interface; a packet is never taken from its tunnel before the program knows the VIPs.

mod addresses;
mod advice;
mod attach;
mod counters;
mod error;
mod kernel;
mod options;
mod prefix;
mod run;

pub use counters::{Counters, Report};
pub use error::DecapError;
pub use kernel::{Attached, DecapConfig, Decapsulator};
pub use options::{Mode, Options};
pub use prefix::{Prefix, PrefixError};
pub use run::run;
