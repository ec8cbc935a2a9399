//! `cargo xtask verify`: what neither rustc nor clippy checks.
//!
//! Role: runs the checks of the modules below and prints what each found. Imports `ebpf_toolchain`, `setup`,
//! `workspace`.
//! Always holds: every check has tests that show it can fail; a check that finds nothing to look at fails.

mod bpf;
mod house;
mod layering;
mod object;
mod source;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::ebpf_toolchain::{Places, Survey};
use crate::setup::{self, Group};
use crate::workspace;

/// `cargo xtask verify`.
///
/// # Errors
/// When something cannot be read or built; a rule that is broken ends with 1.
pub fn command() -> Result<ExitCode> {
    setup::ensure(&[Group::Toolchain])?;
    Ok(if run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every check; whether all hold.
///
/// # Errors
/// When something cannot be read or built.
pub fn run() -> Result<bool> {
    let root = workspace::root();
    let layering = layering::check(root)?;
    let house = house::check(root)?;
    let object = check_object(root)?;
    let mut holds = true;
    for (name, findings) in [("layering", layering), ("house rules", house), ("hot path", object)] {
        println!("{name}: {}", if findings.is_empty() { "holds" } else { "BROKEN" });
        for finding in &findings {
            println!("  {finding}");
        }
        holds &= findings.is_empty();
    }
    Ok(holds)
}

/// Objects whose programs meet every packet.
const HOT_OBJECTS: [&str; 2] = ["lb-datapath", "lb-decap"];

/// Builds the objects as lb-userspace does and looks at those of [`HOT_OBJECTS`].
fn check_object(root: &Path) -> Result<Vec<String>> {
    let toolchain = Survey::of(&Places::of_this_process()).toolchain()?;
    let target_dir = workspace::target_dir().join("xtask/lb-ebpf");
    let built = toolchain.build(&root.join("lb-ebpf"), &target_dir)?;
    for warning in &built.warnings {
        println!("lb-ebpf: {warning}");
    }
    let mut findings = Vec::new();
    for name in HOT_OBJECTS {
        let path = built.objects_dir.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let object = object::Object::parse(&bytes).with_context(|| format!("in {}", path.display()))?;
        for report in bpf::examine(&object, bpf::COLD_FUNCTIONS)? {
            println!("{report}");
            findings.extend(report.findings());
        }
    }
    Ok(findings)
}
