//! TODO helper.

#[derive(Default)]
pub(super) struct Connector {}
