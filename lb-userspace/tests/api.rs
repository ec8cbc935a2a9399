//! The control API end to end: a real socket, the real client, the real `lbctl` commands, and an agent in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking; helpers outside #[test] are tests too")]

#[path = "api/fake.rs"]
mod fake;

#[path = "api/cli.rs"]
mod cli;
#[path = "api/client.rs"]
mod client;
#[path = "api/drain.rs"]
mod drain;
#[path = "api/follow.rs"]
mod follow;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/routes.rs"]
mod routes;
#[path = "api/socket.rs"]
mod socket;
