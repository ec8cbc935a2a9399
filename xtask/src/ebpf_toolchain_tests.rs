//! The search for a toolchain, in directories made for it. Apart from the file it tests, which lb-userspace's build
//! script includes and which therefore has no use for tempfile.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::ebpf_toolchain::{Places, Survey, ToolchainError, Way, belongs_to_outer_build};

const DISTRIBUTION: [&str; 3] =
    ["usr/bin/rustc", "usr/bin/cargo", "usr/lib/rustlib/bpfel-unknown-none/lib/libcore-8056.rlib"];

const LINKER: &str = "home/.cargo/bin/bpf-linker";

/// A file system with these files.
fn machine(files: &[&str]) -> (TempDir, Places) {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let root = dir.path().to_owned();
    let places = Places {
        cargo_home: Some(root.join("home/.cargo")),
        rustup_home: Some(root.join("home/.rustup")),
        path: vec![root.join("usr/local/bin")],
        system_root: root,
    };
    (dir, places)
}

fn nightly(name: &str, with_source: bool) -> Vec<String> {
    let base = format!("home/.rustup/toolchains/{name}");
    let mut files = vec![format!("{base}/bin/rustc"), format!("{base}/bin/cargo")];
    if with_source {
        files.push(format!("{base}/lib/rustlib/src/rust/library/core/src/lib.rs"));
    }
    files
}

fn with_nightly<'a>(files: &'a [String], others: &[&'a str]) -> Vec<&'a str> {
    files.iter().map(String::as_str).chain(others.iter().copied()).collect()
}

#[test]
fn the_distribution_with_core_and_a_linker_in_cargos_home_is_complete() {
    let (_dir, places) = machine(&[&DISTRIBUTION[..], &[LINKER]].concat());
    let toolchain = Survey::of(&places).toolchain().unwrap();
    assert_eq!(toolchain.compiler.way, Way::Distribution);
    assert!(toolchain.linker.ends_with(LINKER));
}

#[test]
fn a_linker_on_the_path_comes_first() {
    let (_dir, places) = machine(&[&DISTRIBUTION[..], &[LINKER, "usr/local/bin/bpf-linker"]].concat());
    assert!(Survey::of(&places).linker.unwrap().ends_with("usr/local/bin/bpf-linker"));
}

#[test]
fn what_is_complete_is_preferred_to_what_is_not() {
    let files = nightly("nightly-x86_64-unknown-linux-gnu", true);
    let (_dir, places) = machine(&with_nightly(&files, &[DISTRIBUTION[0], DISTRIBUTION[1], LINKER]));
    assert_eq!(Survey::of(&places).toolchain().unwrap().compiler.way, Way::Nightly);
}

#[test]
fn the_distribution_is_preferred_when_both_are_complete() {
    let files = nightly("nightly-x86_64-unknown-linux-gnu", true);
    let (_dir, places) = machine(&with_nightly(&files, &[&DISTRIBUTION[..], &[LINKER]].concat()));
    assert_eq!(Survey::of(&places).toolchain().unwrap().compiler.way, Way::Distribution);
}

#[test]
fn the_plain_nightly_is_preferred_to_a_dated_one_unless_it_lacks_the_source() {
    let plain = "nightly-x86_64-unknown-linux-gnu";
    let dated = "nightly-2026-10-01-x86_64-unknown-linux-gnu";
    for (plain_has_source, expected) in [(true, plain), (false, dated)] {
        let files = [nightly(plain, plain_has_source), nightly(dated, true)].concat();
        let (_dir, places) = machine(&with_nightly(&files, &[LINKER]));
        let rustc = Survey::of(&places).toolchain().unwrap().compiler.rustc;
        assert!(rustc.ends_with(Path::new(expected).join("bin/rustc")), "{}", rustc.display());
    }
}

#[test]
fn the_error_names_what_each_way_lacks_and_the_command_that_brings_it() {
    let files = nightly("nightly-x86_64-unknown-linux-gnu", false);
    let (_dir, places) = machine(&with_nightly(&files, &["usr/bin/rustc"]));
    let error = Survey::of(&places).toolchain().unwrap_err();
    assert!(matches!(error, ToolchainError::Incomplete(_)));
    let text = error.to_string();
    for part in
        ["cargo xtask setup", "usr/bin/cargo", "core for bpfel-unknown-none", "rust-src", "bpf-linker"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_machine_without_rustup_is_no_error_by_itself() {
    let (_dir, mut places) = machine(&[&DISTRIBUTION[..], &[LINKER]].concat());
    places.rustup_home = None;
    assert!(Survey::of(&places).toolchain().is_ok());
}

#[test]
fn a_build_that_cannot_start_names_its_cargo() {
    let (dir, places) = machine(&[&DISTRIBUTION[..], &[LINKER]].concat());
    let toolchain = Survey::of(&places).toolchain().unwrap();
    // The files are no programs.
    let error = toolchain.build(dir.path(), &PathBuf::from("target")).unwrap_err();
    assert!(matches!(error, ToolchainError::Start { .. }) && error.to_string().contains("usr/bin/cargo"));
}

#[test]
fn the_outer_build_does_not_reach_the_inner_one() {
    for name in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_MAKEFLAGS",
        "CARGO_FEATURE_HOST",
        "CARGO_BUILD_TARGET",
    ] {
        assert!(belongs_to_outer_build(OsStr::new(name)), "{name} is kept");
    }
    for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "HOME", "PATH", "https_proxy"] {
        assert!(!belongs_to_outer_build(OsStr::new(name)), "{name} is removed");
    }
}
