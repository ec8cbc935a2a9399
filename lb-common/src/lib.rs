//! The decision core.
#![no_std]
