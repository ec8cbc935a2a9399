//! The site of `examples/site.toml` in a lab: nginx, application servers, a MariaDB primary with two replicas, one node.
//!
//! ```text
//!   client .10 ── 198.51.100.0/24 ── .1 edge .1 ── 203.0.113.0/24 ── .2 eth0 node eth1 .2 ── 10.0.0.0/24
//!                                                      VIP .10 web          VIPs .100 app, .101 primary, .102 replicas
//!                                                                           web1-3 .11, app1-2 .21, db1-3 .31
//! ```
//!
//! Role: [`site`] makes it, [`load`] asks it, [`check`] breaks one thing after another ([`faults`]) and judges, [`view`] shows
//! it live. Imports `lab`, `nginx`, `mariadb`, `bins`, `http`, `hosts`, `programs` (for what they print).

mod agent;
pub mod check;
pub mod faults;
pub mod load;
mod site;
pub mod view;

pub use agent::{Agent, Backend, Event};
pub use site::{App, Site};
