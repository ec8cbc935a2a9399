//! The whole product in the lab: `lbd` and `lbctl` as an operator runs them, real clients, real web servers. Needs root.
//!
//! Role: one target, so that helpers are shared and tests that measure time can run alone. `bed`, `load`, `nginx` and
//! `kernel` help; the other modules are tests. Numbers in comments are those of the failure scenarios.
//! Always holds: each test has a lab of its own; what is waited for is a condition, never a span of time.

mod attach;
mod bad_input;
mod bed;
mod decap;
mod edits;
mod health;
mod kernel;
mod leftovers;
mod load;
mod lookups;
mod modes;
mod nginx_fleet;
mod restart;
mod services;
mod ways;
mod weights;
