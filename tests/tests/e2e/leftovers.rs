//! What starts that fail leave behind.

use anyhow::{Result, ensure};
use lb_common::abi::names::PINNED;
use lb_tests::site::{NODE_BACK, NODE_FRONT};

use super::bed::Bed;
use super::kernel;

/// An interface whose driver has no native XDP.
const GENERIC_ONLY: &str = "mac0";

/// Starts that fail, one after the other: what each left behind would add up.
const STARTS: usize = 3;

/// Lets `lbd` fail over maps that it takes over, with `interfaces` of which one cannot have what is asked for.
fn fail_over_adopted_maps(bed: &Bed, interfaces: &str) -> Result<()> {
    let good = bed.text()?;
    bed.start()?.terminate()?;
    bed.replace("[\"front\", \"back\"]", interfaces)?;
    bed.replace("vips = \"assign\"", "vips = \"assign\"\nxdp_mode = \"native\"")?;
    for _ in 0..STARTS {
        let said = bed.refusal("run")?;
        ensure!(said.contains(GENERIC_ONLY) && said.contains("refuses native XDP"), "{said}");
    }
    bed.write(&good)
}

/// Maps that are pinned: those that every agent shares, and tables of stages.
fn maps(bed: &Bed) -> Result<usize> {
    let pins = kernel::pins(&bed.bpffs)?;
    Ok(pins.iter().filter(|pin| !pin.to_string_lossy().contains("/link-")).count())
}

#[test]
fn starts_that_fail_over_adopted_maps_leave_no_programs_behind() -> Result<()> {
    let bed = Bed::shared(2)?;
    bed.fleet.node.ip(&format!("link add {GENERIC_ONLY} link front type macvlan mode bridge"))?;
    bed.fleet.node.ip(&format!("link set {GENERIC_ONLY} up"))?;
    for interfaces in [
        // Refused before any interface got the new program, and after the others had.
        format!("[\"{GENERIC_ONLY}\", \"front\", \"back\"]"),
        format!("[\"front\", \"back\", \"{GENERIC_ONLY}\"]"),
    ] {
        fail_over_adopted_maps(&bed, &interfaces)?;
        ensure!(maps(&bed)? == PINNED.len() + 1, "{interfaces}: {:?}", kernel::pins(&bed.bpffs)?);
        for interface in [NODE_FRONT, NODE_BACK] {
            ensure!(kernel::program_id(&bed.fleet.node, interface)?.is_some(), "{interface} is bare");
        }
        // The stages that are left are those of the attached programs, and the next agent takes over.
        let _lbd = bed.start()?;
        bed.wait_up()?;
        bed.expect_servers(&["web1", "web2"])?;
        ensure!(maps(&bed)? == PINNED.len() + 1, "{:?}", kernel::pins(&bed.bpffs)?);
    }
    Ok(())
}
