//! Real databases behind the load balancer, and the check that asks them. Needs root, MariaDB and the built binaries.

mod bed;
mod conversation;
mod prober;
mod replicas;
mod roles;
