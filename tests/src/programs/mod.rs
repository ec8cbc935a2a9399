//! The small programs that run inside a lab's hosts, all in the binary `lb-lab`.
//!
//! Each module is one subcommand. Imports `http` and, for `hold`, `lab`.

pub mod app;
pub mod control;
pub mod decap;
pub mod echo;
pub mod hold;
pub mod serve;
pub mod talk;
mod tun;
mod udp;
