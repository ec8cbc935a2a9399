//! The small programs that run inside a lab's hosts, all in the binary `lb-lab`.
//!
//! Each module is one subcommand. Imports `http` and, for `hold`, `lab`.

pub mod decap;
pub mod hold;
pub mod serve;
mod tun;
mod udp;
