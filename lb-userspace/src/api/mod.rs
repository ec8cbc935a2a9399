//! The control API: HTTP and JSON over a unix socket.
//!
//! Role: the types that the agent and `lbctl` share, the server (against the [`control::Control`] trait, so that it
//! knows nothing of the agent), the client, and the lock that keeps a second agent out.
//! Imports nothing of ours.
//! Always holds: every answer that is not a success is an [`error::ApiError`]; an edit that was begun is carried
//! to its end even if the client goes away.

mod access;
pub mod client;
pub mod control;
pub mod edit;
pub mod error;
mod extract;
mod guard;
pub mod lock;
mod routes;
pub mod server;
pub mod types;

/// The control socket unless the configuration (`node.control_socket`) or `lbctl --socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/lb/lbd.sock";

/// Most events that one request may ask for.
pub const MAX_EVENTS: u32 = 10_000;

/// Longest time, in milliseconds, that a request may ask to wait for an event.
pub const MAX_EVENT_WAIT_MS: u32 = 30_000;
