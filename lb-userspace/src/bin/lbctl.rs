//! lbctl
fn main() {}
