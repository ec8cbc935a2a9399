//! Ways out and back: routers, other MACs, small MTUs, fragments, people with ping and traceroute. (VLANs and bonds: `trunks.rs`.)
//!
//! Always holds: every host that a test adds is in the site's lab, and so goes with it.

mod configuration;
mod datagrams;
mod front_only;
mod path_mtu;
mod people;
mod ports_exhausted;
mod replaced;
mod routers;
