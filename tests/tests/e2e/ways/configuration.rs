//! The site's node with a configuration of the test's own.

use anyhow::Result;
use lb_tests::configuration::{Node, text};
use lb_tests::lab::Process;

pub use lb_tests::configuration::Served;

use crate::bed::Bed;

/// Serves these, without health checks, on these interfaces.
pub fn serve(bed: &Bed, interfaces: &[&str], vips: &str, services: &[Served<'_>]) -> Result<Process> {
    let node = Node { interfaces, vips, bpffs: &bed.bpffs, socket: &bed.socket };
    bed.write(&text(&node, services))?;
    bed.start()
}
