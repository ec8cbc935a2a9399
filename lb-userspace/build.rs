//! Builds `lb-ebpf` and puts its objects into `OUT_DIR`, where the library embeds them.
//!
//! Always holds: the inner build has a target directory of its own, so the two cargos never wait for each other.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

#[path = "../xtask/src/ebpf_toolchain.rs"]
mod ebpf_toolchain;

use ebpf_toolchain::{Places, Survey};

/// Programs of `lb-ebpf` that are embedded: the datapath, the decapsulator and the bench's driver.
const PROGRAMS: [&str; 4] = ["lb-datapath", "lb-datapath-frags", "lb-decap", "lb-bench-driver"];

/// What the objects are made of, relative to the workspace.
const INPUTS: [&str; 6] = [
    "lb-ebpf/src",
    "lb-ebpf/Cargo.toml",
    "lb-ebpf/Cargo.lock",
    "lb-common/src",
    "lb-common/Cargo.toml",
    "xtask/src/ebpf_toolchain.rs",
];

fn main() {
    if let Err(error) = build() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no CARGO_MANIFEST_DIR")?);
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let workspace = manifest_dir.parent().ok_or("the package is not in a workspace")?;

    for input in INPUTS {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    for variable in ["CARGO_HOME", "RUSTUP_HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }

    let toolchain = Survey::of(&Places::of_this_process()).toolchain()?;
    for tool in [&toolchain.compiler.rustc, &toolchain.linker] {
        println!("cargo:rerun-if-changed={}", tool.display());
    }
    let built = toolchain.build(&workspace.join("lb-ebpf"), &out_dir.join("lb-ebpf"))?;
    for warning in &built.warnings {
        println!("cargo:warning=lb-ebpf: {warning}");
    }
    for program in PROGRAMS {
        let object = built.objects_dir.join(program);
        fs::copy(&object, out_dir.join(format!("{program}.o")))
            .map_err(|error| format!("cannot copy {}: {error}", object.display()))?;
    }
    Ok(())
}
