//! The lab.
pub mod fixtures;
