//! Which room of the house may import which.
//!
//! Role: the table of DESIGN.md and lb-userspace's `lib.rs`, and the check that holds the code to it. Imports
//! `source`.
//! Always holds: a room that the table does not name is a finding, so a new room needs a decision. Tests may import
//! what they like.

use std::path::Path;

use anyhow::Result;

use super::source::{self, Gate, Module};

/// A room of lb-userspace and the other rooms that it may import.
struct Room {
    name: &'static str,
    rooms: Rooms,
    /// Whether it may import lb-common.
    common: bool,
}

/// Other rooms of lb-userspace.
enum Rooms {
    /// These.
    Only(&'static [&'static str]),
    /// All: the place that wires them together.
    All,
}

const fn room(name: &'static str, rooms: &'static [&'static str], common: bool) -> Room {
    Room { name, rooms: Rooms::Only(rooms), common }
}

/// The rooms.
const ROOMS: [Room; 13] = [
    room("model", &[], true),
    room("config", &["model"], false),
    room("health", &["model"], false),
    room("netlink", &[], false),
    room("dataplane", &[], true),
    // Builds slot tables, with lb-common's Maglev.
    room("reconcile", &["model", "dataplane"], true),
    // Finds the slot of a flow, with lb-common's hash.
    room("phases", &["model", "dataplane", "reconcile"], true),
    room("keeper", &["model", "dataplane", "reconcile", "phases"], true),
    room("api", &[], false),
    room("cli", &["api"], false),
    room("telemetry", &[], true),
    // A command of its own for backends: its program is loaded and attached by itself.
    room("decap", &["dataplane", "netlink"], true),
    Room { name: "agent", rooms: Rooms::All, common: true },
];

/// Crates that only some rooms may use.
const CRATES: [(&str, &[&str]); 5] = [
    ("aya", &["dataplane", "decap"]),
    ("aya_obj", &["dataplane"]),
    ("aya_log", &["dataplane", "telemetry"]),
    ("rtnetlink", &["netlink"]),
    ("netlink_packet_route", &["netlink"]),
];

/// Binaries of lb-userspace and the room that each opens.
const BINARIES: [(&str, &[&str]); 2] = [
    // Reads its arguments, then hands over to the agent, or to the decapsulator.
    ("lbd", &["agent", "config", "dataplane", "decap", "telemetry", "cli"]),
    ("lbctl", &["cli", "api"]),
];

/// Crates of ours and of the system that the decision core may not use: it is built for the kernel.
const NOT_IN_COMMON: [&str; 6] = ["aya", "aya_ebpf", "aya_log", "lb_userspace", "lb_tests", "tokio"];

/// Checks lb-userspace and lb-common; a line for each rule that is broken.
///
/// # Errors
/// When the sources cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for module in source::read_crate(&root.join("lb-userspace/src/lib.rs"))? {
        findings.extend(judge_room(&module));
    }
    for (binary, rooms) in BINARIES {
        for module in source::read_crate(&root.join(format!("lb-userspace/src/bin/{binary}.rs")))? {
            findings.extend(judge_binary(&module, binary, rooms));
        }
    }
    for module in source::read_crate(&root.join("lb-common/src/lib.rs"))? {
        findings.extend(judge_common(&module));
    }
    Ok(findings)
}

/// The findings in one module of lb-userspace.
fn judge_room(module: &Module) -> Vec<String> {
    let Some(name) = module.path.first() else { return Vec::new() };
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![format!(
            "{}: the room {name} is not in the table of xtask/src/verify/layering.rs: say what it may import",
            module.file.display()
        )];
    };
    let mut findings = Vec::new();
    for path in module.contents.paths.iter().filter(|path| path.gate != Gate::Test && !is_test_file(module)) {
        let [first, rest @ ..] = path.segments.as_slice() else { continue };
        let complaint = match (first.as_str(), rest.first()) {
            ("crate" | "lb_userspace", Some(other)) => foreign_room(room, other),
            ("lb_common", _) if !room.common => Some(format!("{name} may not import lb-common")),
            (foreign, _) => foreign_crate(name, foreign),
        };
        findings.extend(complaint.map(|text| format!("{}:{}: {text}", module.file.display(), path.line)));
    }
    findings
}

/// What is wrong with `room` importing the room `other`. Names that are no room are re-exports of the crate's root,
/// which has none.
fn foreign_room(room: &Room, other: &str) -> Option<String> {
    let is_allowed = other == room.name
        || match room.rooms {
            Rooms::All => true,
            Rooms::Only(allowed) => allowed.contains(&other),
        };
    (!is_allowed).then(|| format!("{} may not import {other}", room.name))
}

/// What is wrong with `room` using a crate.
fn foreign_crate(room: &str, used: &str) -> Option<String> {
    let (_, allowed) = CRATES.iter().find(|(name, _)| *name == used)?;
    (!allowed.contains(&room)).then(|| format!("{room} may not use {used}; {} may", allowed.join(" and ")))
}

fn judge_binary(module: &Module, binary: &str, rooms: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for path in module.contents.paths.iter().filter(|path| path.gate != Gate::Test) {
        let [first, rest @ ..] = path.segments.as_slice() else { continue };
        let complaint = match (first.as_str(), rest.first()) {
            ("lb_userspace", Some(room)) if !rooms.contains(&room.as_str()) => {
                Some(format!("{binary} may not import {room}"))
            }
            (foreign, _) => foreign_crate(binary, foreign),
        };
        findings.extend(complaint.map(|text| format!("{}:{}: {text}", module.file.display(), path.line)));
    }
    findings
}

/// The findings in one module of lb-common: std only where the feature `host` or a test brings it.
fn judge_common(module: &Module) -> Vec<String> {
    let mut findings = Vec::new();
    for path in module.contents.paths.iter().filter(|path| !is_test_file(module) && path.gate != Gate::Test) {
        let Some(first) = path.segments.first() else { continue };
        let complaint = if matches!(first.as_str(), "std" | "alloc") && path.gate == Gate::Open {
            Some(format!("{first} without #[cfg(feature = \"host\")]: the kernel has none"))
        } else if NOT_IN_COMMON.contains(&first.as_str()) {
            Some(format!("lb-common may not use {first}"))
        } else {
            None
        };
        findings.extend(complaint.map(|text| format!("{}:{}: {text}", module.file.display(), path.line)));
    }
    findings
}

/// Files of tests, whose declaration in another file may carry the gate.
fn is_test_file(module: &Module) -> bool {
    module.path.last().is_some_and(|name| name == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> Module {
        let path: Vec<String> =
            path.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        let contents = source::read(text, &path, Gate::Open).unwrap();
        Module { file: format!("{}.rs", path.join("/")).into(), path, contents }
    }

    fn in_room(path: &str, text: &str) -> Vec<String> {
        judge_room(&module(path, text))
    }

    #[test]
    fn what_the_table_allows_holds() {
        assert_eq!(in_room("config::parse", "use crate::model::Pool; use crate::config::error::E;"), [""; 0]);
        assert_eq!(
            in_room("reconcile", "use crate::{model, dataplane::Op}; use lb_common::maglev;"),
            [""; 0]
        );
        assert_eq!(in_room("agent", "use crate::{config, cli, dataplane, netlink};"), [""; 0]);
        assert_eq!(in_room("dataplane::kernel", "use aya::Ebpf; use lb_common::abi;"), [""; 0]);
    }

    #[test]
    fn what_the_table_forbids_is_found_with_its_line() {
        assert_eq!(
            in_room("health::probe", "use crate::model;\nuse crate::config::Config;"),
            ["health/probe.rs:2: health may not import config"]
        );
        assert_eq!(in_room("cli", "fn f() { crate::agent::run() }").len(), 1);
        assert_eq!(in_room("netlink::route", "use super::super::model::Node;").len(), 1);
        assert_eq!(in_room("api", "use lb_common::abi;").len(), 1);
    }

    #[test]
    fn aya_outside_its_room_is_found() {
        assert_eq!(in_room("agent", "use aya::Ebpf;").len(), 1);
        assert_eq!(in_room("agent", "fn f() { ::aya::maps::x() }").len(), 1);
        assert_eq!(in_room("telemetry", "use aya_log::EbpfLogger;"), [""; 0]);
        assert_eq!(in_room("health", "use rtnetlink::Handle;").len(), 1);
    }

    #[test]
    fn tests_may_import_what_they_like() {
        assert_eq!(in_room("health", "#[cfg(test)] mod tests { use crate::agent; }"), [""; 0]);
        assert_eq!(in_room("health::tests", "use crate::agent;"), [""; 0]);
    }

    #[test]
    fn a_room_that_is_not_in_the_table_is_found() {
        assert_eq!(in_room("attic", "").len(), 1);
    }

    #[test]
    fn a_binary_opens_its_own_rooms_only() {
        let lbctl = module("", "use lb_userspace::agent;");
        assert_eq!(judge_binary(&lbctl, "lbctl", &["cli"]).len(), 1);
        let lbctl = module("", "fn main() { lb_userspace::cli::main() }");
        assert_eq!(judge_binary(&lbctl, "lbctl", &["cli"]), [""; 0]);
    }

    #[test]
    fn std_in_the_core_needs_its_gate() {
        let findings = |text| judge_common(&module("maglev", text)).len();
        assert_eq!(findings("use std::vec::Vec;"), 1);
        assert_eq!(findings("fn f() { alloc::vec::Vec::new() }"), 1);
        assert_eq!(findings("use core::mem; #[cfg(feature = \"host\")] use std::vec::Vec;"), 0);
        assert_eq!(findings("#[cfg(test)] mod tests { use std::vec::Vec; }"), 0);
        assert_eq!(findings("#[cfg(feature = \"host\")] use aya_ebpf::x;"), 1);
    }
}
