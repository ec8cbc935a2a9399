//! How the datapath is attached, and what it logs.

use anyhow::{Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::Mode;
use lb_userspace::api::types::AttachMode;
use std::fs;
use std::time::Duration;

use super::bed::Bed;
use super::restart::expect_nothing_left;

/// An interface whose driver has no native XDP.
const GENERIC_ONLY: &str = "mac0";

/// Time for a line of the log.
const SOON: Duration = Duration::from_secs(10);

/// A site whose node has, and is configured with, one more interface: one without native XDP.
fn bed_with_macvlan() -> Result<Bed> {
    let bed = Bed::shared(2)?;
    bed.fleet.node.ip(&format!("link add {GENERIC_ONLY} link front type macvlan mode bridge"))?;
    bed.fleet.node.ip(&format!("link set {GENERIC_ONLY} up"))?;
    bed.replace("[\"front\", \"back\"]", &format!("[\"front\", \"back\", \"{GENERIC_ONLY}\"]"))?;
    Ok(bed)
}

#[test]
fn generic_mode_is_taken_only_where_native_is_refused_and_is_told() -> Result<()> {
    let bed = bed_with_macvlan()?;
    let _lbd = bed.start()?;
    let status = bed.status()?;
    for interface in &status.interfaces {
        let wanted = if interface.name == GENERIC_ONLY { AttachMode::Generic } else { AttachMode::Native };
        ensure!(interface.mode == wanted, "{interface:?}");
    }
    ensure!(status.interfaces.len() == 3, "{:?}", status.interfaces);
    let told = |warning: &String| warning.contains(GENERIC_ONLY) && warning.contains("generic mode");
    ensure!(status.warnings.iter().filter(|warning| told(warning)).count() == 1, "{:?}", status.warnings);
    bed.wait_up()?;
    bed.expect_servers(&["web1", "web2"])
}

#[test]
fn native_mode_that_was_asked_for_and_is_refused_ends_the_start() -> Result<()> {
    let bed = bed_with_macvlan()?;
    bed.replace("vips = \"assign\"", "vips = \"assign\"\nxdp_mode = \"native\"")?;
    let said = bed.refusal("run")?;
    ensure!(said.contains(GENERIC_ONLY) && said.contains("refuses native XDP"), "{said}");
    ensure!(said.contains("xdp_mode"), "{said}");
    expect_nothing_left(&bed)
}

#[test]
fn the_datapath_logs_at_the_level_of_the_start() -> Result<()> {
    let bed = Bed::shared(1)?;
    bed.replace("vips = \"assign\"", "vips = \"assign\"\ndatapath_log = \"info\"")?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    bed.answers(Mode::Nat.vip_v4().into(), 1)?;
    // 128 and 129: nat and nat-reply (docs/datapath.md).
    for reason in ["reason 128", "reason 129"] {
        wait_until(reason, SOON, || {
            Ok(fs::read_to_string(lbd.stderr_path())?.contains(reason).then_some(()))
        })?;
    }
    let log = fs::read_to_string(lbd.stderr_path())?;
    ensure!(!log.contains("pass reason"), "passed packets are for the level debug: {log}");
    Ok(())
}
