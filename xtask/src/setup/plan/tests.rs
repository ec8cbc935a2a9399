//! Given what is there, what is installed, and which way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::packages::all_packages;
use super::*;
use crate::ebpf_toolchain::{Compiler as Found, Survey};
use crate::privilege::Privilege;

const ALL: [Group; 3] = [Group::Toolchain, Group::Lab, Group::Test];

/// Debian with the usual archives, rustup's stable toolchain and nothing else.
fn fresh_debian() -> Present {
    Present {
        privilege: Privilege::Root,
        survey: Survey {
            distribution: Err(vec!["all".to_owned()]),
            nightly: Err(vec!["all".to_owned()]),
            linker: None,
        },
        broken_linker: None,
        programs: BTreeMap::from([("cc", PathBuf::from("/usr/bin/cc"))]),
        apt: Some(Apt {
            installed: BTreeSet::new(),
            candidates: all_packages().into_iter().map(str::to_owned).collect(),
        }),
        rustup: Some(PathBuf::from("/home/u/.cargo/bin/rustup")),
        binstall: None,
        rustfmt: true,
        clippy: true,
    }
}

fn complete() -> Present {
    let mut present = fresh_debian();
    present.survey.distribution = Ok(compiler(Way::Distribution));
    present.survey.linker = Some(PathBuf::from("/home/u/.cargo/bin/bpf-linker"));
    present.programs = TOOLS.iter().map(|tool| (tool.program, PathBuf::from("/usr/bin/x"))).collect();
    present
}

fn compiler(way: Way) -> Found {
    Found { way, cargo: PathBuf::from("/usr/bin/cargo"), rustc: PathBuf::from("/usr/bin/rustc") }
}

fn apt_of(present: &mut Present) -> &mut Apt {
    present.apt.as_mut().unwrap()
}

#[test]
fn a_complete_machine_gets_nothing() {
    let plan = plan(&ALL, &complete());
    assert_eq!(plan.steps, []);
    assert!(!plan.is_incomplete());
}

#[test]
fn a_fresh_debian_gets_its_own_compiler_and_a_linker_on_its_llvm() {
    let plan = plan(&[Group::Toolchain], &fresh_debian());
    assert_eq!(
        plan.steps,
        [
            Step::Apt(vec![
                "cargo-web",
                "libpolly-22-dev",
                "libstd-rust-web-dev-bpf",
                "llvm-22-dev",
                "rustc-web"
            ]),
            Step::LinkerFromSource { force: false },
        ]
    );
    assert!(plan.is_incomplete());
    assert!(plan.way.starts_with("distribution packages"), "{}", plan.way);
}

#[test]
fn only_the_groups_asked_for_are_planned() {
    let plan = plan(&[Group::Toolchain, Group::Lab], &fresh_debian());
    assert!(plan.rows.iter().all(|row| row.group != Group::Test));
    let Step::Apt(packages) = &plan.steps[0] else { panic!("{:?}", plan.steps) };
    assert!(packages.contains(&"iproute2") && !packages.contains(&"wrk"), "{packages:?}");
}

#[test]
fn only_the_missing_tool_is_installed() {
    let mut present = complete();
    present.programs.remove("wrk");
    assert_eq!(plan(&ALL, &present).steps, [Step::Apt(vec!["wrk"])]);
}

#[test]
fn installed_packages_are_not_named_again() {
    let mut present = fresh_debian();
    apt_of(&mut present).installed = ["rustc-web", "cargo-web", "llvm-22-dev"].map(str::to_owned).into();
    let plan = plan(&[Group::Toolchain], &present);
    assert_eq!(plan.steps[0], Step::Apt(vec!["libpolly-22-dev", "libstd-rust-web-dev-bpf"]));
}

#[test]
fn without_the_ebpf_package_the_way_is_nightly_and_newer_lists_are_tried_first() {
    let mut present = fresh_debian();
    apt_of(&mut present).candidates.remove("libstd-rust-web-dev-bpf");
    let plan = plan(&[Group::Toolchain], &present);
    assert_eq!(plan.steps, [Step::Nightly, Step::Binstall, Step::LinkerPublished { force: false }]);
    assert!(plan.way.contains("apt does not offer"), "{}", plan.way);
    assert!(would_newer_lists_help(&[Group::Toolchain], &present));
}

#[test]
fn a_package_that_conflicts_is_left_alone() {
    let mut present = fresh_debian();
    apt_of(&mut present).installed.insert("rustup".to_owned());
    let plan = plan(&[Group::Toolchain], &present);
    assert_eq!(plan.steps[0], Step::Nightly);
    assert!(plan.way.contains("rustup conflicts"), "{}", plan.way);
    assert!(!would_newer_lists_help(&[Group::Toolchain], &present));
}

#[test]
fn a_nightly_that_is_there_needs_its_linker_only() {
    let mut present = fresh_debian();
    present.survey.nightly = Ok(compiler(Way::Nightly));
    present.binstall = Some(PathBuf::from("/x/cargo-binstall"));
    let plan = plan(&[Group::Toolchain], &present);
    assert_eq!(plan.steps, [Step::LinkerPublished { force: false }]);
}

#[test]
fn a_linker_that_does_not_start_is_replaced() {
    let mut present = complete();
    present.broken_linker = present.survey.linker.take();
    apt_of(&mut present).installed = LLVM_PACKAGES.map(str::to_owned).into();
    assert_eq!(plan(&ALL, &present).steps, [Step::LinkerFromSource { force: true }]);
}

#[test]
fn without_apt_the_way_is_nightly_and_tools_are_named() {
    let mut present = fresh_debian();
    present.apt = None;
    let plan = plan(&ALL, &present);
    assert_eq!(plan.steps[0], Step::Nightly);
    let stuck: Vec<&str> = plan.stuck().map(|row| row.part.as_str()).collect();
    assert!(["nginx", "mariadbd", "ip"].iter().all(|tool| stuck.contains(tool)), "{stuck:?}");
    assert!(!would_newer_lists_help(&ALL, &present));
}

#[test]
fn with_neither_apt_nor_rustup_the_error_says_where_to_get_one() {
    let mut present = fresh_debian();
    present.apt = None;
    present.rustup = None;
    let plan = plan(&[Group::Toolchain], &present);
    assert_eq!(plan.steps, []);
    let State::Stuck(reason) = &plan.rows[0].state else { panic!("{:?}", plan.rows) };
    assert!(reason.contains("https://rustup.rs"), "{reason}");
}

#[test]
fn empty_package_lists_are_fetched_before_anything_is_given_up() {
    let mut present = fresh_debian();
    apt_of(&mut present).candidates.clear();
    assert!(would_newer_lists_help(&ALL, &present));
}

#[test]
fn components_come_from_rustup_else_from_packages_else_their_tier_is_left_out() {
    let mut present = complete();
    (present.rustfmt, present.clippy) = (false, false);
    assert_eq!(plan(&ALL, &present).steps, [Step::Components(vec!["rustfmt", "clippy"])]);
    present.rustup = None;
    let plan = plan(&ALL, &present);
    assert_eq!(plan.steps, [Step::Apt(vec!["rustfmt-web"])]);
    let clippy = plan.rows.iter().find(|row| row.part == "clippy").unwrap();
    assert!(matches!(clippy.state, State::Without(_)), "{clippy:?}");
}
