//! The agent and the operator's tools, as a library with two thin binaries (`lbd`, `lbctl`).
//!
//! Rooms and what they may import (`cargo xtask verify` checks it):
//! `model` nothing of ours but lb-common; `config` model; `health` model; `netlink` nothing of ours;
//! `dataplane` lb-common, the only user of aya but for `decap`; `decap` lb-common, dataplane and netlink; `reconcile` model, dataplane's types; `phases` these and reconcile;
//! `keeper` these and phases; `api` nothing of ours; `cli` api; `telemetry` lb-common; `agent` everything: the only
//! place that wires the rooms together.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod decap;
pub mod health;
pub mod keeper;
pub mod model;
pub mod netlink;
pub mod phases;
pub mod reconcile;
pub mod telemetry;
