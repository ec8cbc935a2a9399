//! Ways out and back: VLANs, routers, other MACs, small MTUs, fragments, people with ping and traceroute.
//!
//! Always holds: every host that a test adds is in the site's lab, and so goes with it.

mod configuration;
mod datagrams;
mod hosts;
mod http_upload;
mod path_mtu;
mod people;
mod replaced;
mod routers;
mod trunk;
