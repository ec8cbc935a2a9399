//! What is there, what is missing, and the steps that bring it.
//!
//! Role: pure; `present` in, a plan out. Imports `ebpf_toolchain`, `packages`, `present`.
//! Always holds: a plan names each package at most once and none that is there already.

use super::packages::{
    COMPILER_CONFLICTS, COMPILER_PACKAGES, Group, LLVM_PACKAGES, NGINX_PACKAGE, RUSTFMT_PACKAGE, TOOLS,
};
use super::present::{Apt, Present};
use crate::ebpf_toolchain::Way;

/// One line of set-up's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What needs it.
    pub group: Group,
    /// The part.
    pub part: String,
    /// Whether it is there.
    pub state: State,
    /// What it is for.
    pub why: String,
}

/// Whether a part is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is, at this place.
    Present(String),
    /// It is going to be installed from here.
    Install(String),
    /// It is missing, and the reason why set-up can not install it.
    Stuck(String),
    /// It is missing, and so is its tier of the tests, for this reason; the rest works without.
    Without(String),
}

/// One step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// apt-get install.
    Apt(Vec<&'static str>),
    /// rustup's nightly with rust-src.
    Nightly,
    /// rustup component add.
    Components(Vec<&'static str>),
    /// bpf-linker from source on the distribution's LLVM; `force` replaces one that does not start.
    LinkerFromSource {
        /// Replace the one that is there.
        force: bool,
    },
    /// cargo-binstall from source.
    Binstall,
    /// bpf-linker as its project publishes it.
    LinkerPublished {
        /// Replace the one that is there.
        force: bool,
    },
}

/// What set-up found and what it is going to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The table.
    pub rows: Vec<Row>,
    /// Which way eBPF programs are compiled, and why that one.
    pub way: String,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether something is missing that is needed.
    pub fn is_incomplete(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.state, State::Install(_) | State::Stuck(_)))
    }

    /// The parts that set-up can not bring.
    pub fn stuck(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| matches!(row.state, State::Stuck(_)))
    }
}

/// How the compiler is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    There(Way),
    Install(Way),
    Stuck,
}

/// Plans for these groups.
pub fn plan(groups: &[Group], present: &Present) -> Plan {
    let mut plan = Plan::default();
    let mut packages = Vec::new();
    if groups.contains(&Group::Toolchain) {
        let compiler = plan_compiler(present, &mut plan, &mut packages);
        plan_linker(present, compiler, &mut plan, &mut packages);
    }
    for tool in TOOLS.iter().filter(|tool| groups.contains(&tool.group)) {
        let state = match (present.programs.get(tool.program), &present.apt) {
            (Some(file), _) => State::Present(file.display().to_string()),
            (None, Some(apt)) if apt.offers(&[tool.package]) => {
                packages.push(tool.package);
                State::Install(format!("package {}", tool.package))
            }
            (None, Some(_)) => State::Stuck(format!("apt offers no package {}", tool.package)),
            (None, None) => State::Stuck(format!("no apt here: install what Debian calls {}", tool.package)),
        };
        plan.rows.push(Row {
            group: tool.group,
            part: tool.program.to_owned(),
            state,
            why: tool.why.to_owned(),
        });
    }
    if groups.contains(&Group::Test) {
        plan_components(present, &mut plan, &mut packages);
    }
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        plan.steps.insert(0, Step::Apt(packages));
    }
    plan
}

/// Whether some part cannot be had with the package lists as they are, so that fetching them may help.
pub fn would_newer_lists_help(groups: &[Group], present: &Present) -> bool {
    let plan = plan(groups, present);
    let nightly_for_want_of_packages = plan.steps.contains(&Step::Nightly)
        && present.apt.as_ref().is_some_and(|apt| conflict(apt).is_none());
    present.apt.is_some() && (plan.stuck().next().is_some() || nightly_for_want_of_packages)
}

fn conflict(apt: &Apt) -> Option<&'static str> {
    COMPILER_CONFLICTS.into_iter().find(|name| apt.installed.contains(*name))
}

fn plan_compiler(present: &Present, plan: &mut Plan, packages: &mut Vec<&'static str>) -> Compiler {
    let wanted: Vec<&str> = COMPILER_PACKAGES.into_iter().chain(LLVM_PACKAGES).collect();
    let against_packages = match &present.apt {
        None => Some("this machine has no apt".to_owned()),
        Some(apt) => match conflict(apt) {
            Some(name) => Some(format!("the installed package {name} conflicts with rustc-web")),
            None if !apt.offers(&wanted) => {
                Some(format!("apt does not offer all of {}", COMPILER_PACKAGES.join(", ")))
            }
            None => None,
        },
    };
    let (compiler, state, way) = match (present.survey.compiler(), against_packages, &present.rustup) {
        (Some(there), ..) => (
            Compiler::There(there.way),
            State::Present(there.rustc.display().to_string()),
            format!("{}: complete already", there.way),
        ),
        (None, None, _) => {
            packages.extend(missing(present, &COMPILER_PACKAGES));
            (
                Compiler::Install(Way::Distribution),
                State::Install(format!("packages {}", COMPILER_PACKAGES.join(", "))),
                format!(
                    "{}: apt has a compiler with core for the target, so nothing experimental is built",
                    Way::Distribution
                ),
            )
        }
        (None, Some(reason), Some(_)) => {
            plan.steps.push(Step::Nightly);
            (
                Compiler::Install(Way::Nightly),
                State::Install("rustup toolchain nightly, component rust-src".to_owned()),
                format!("{}: {reason}", Way::Nightly),
            )
        }
        (None, Some(reason), None) => (
            Compiler::Stuck,
            State::Stuck(format!("{reason}, and there is no rustup: install it from https://rustup.rs")),
            "none".to_owned(),
        ),
    };
    plan.way = way;
    plan.rows.push(Row {
        group: Group::Toolchain,
        part: "rustc and core for eBPF".to_owned(),
        state,
        why: "compiles lb-ebpf".to_owned(),
    });
    compiler
}

fn plan_linker(present: &Present, compiler: Compiler, plan: &mut Plan, packages: &mut Vec<&'static str>) {
    let force = present.broken_linker.is_some();
    let state = match (&present.survey.linker, compiler) {
        (Some(linker), _) => State::Present(linker.display().to_string()),
        (None, Compiler::Stuck) => State::Stuck("needs the compiler's LLVM".to_owned()),
        (None, Compiler::There(Way::Distribution) | Compiler::Install(Way::Distribution)) => {
            if present.apt.as_ref().is_some_and(|apt| apt.offers(&LLVM_PACKAGES)) {
                packages.extend(missing(present, &LLVM_PACKAGES));
                plan.steps.push(Step::LinkerFromSource { force });
                State::Install(format!("cargo install bpf-linker on {}", LLVM_PACKAGES.join(", ")))
            } else {
                State::Stuck(format!("apt does not offer {}", LLVM_PACKAGES.join(", ")))
            }
        }
        (None, Compiler::There(Way::Nightly) | Compiler::Install(Way::Nightly)) => {
            if present.binstall.is_none() {
                plan.steps.push(Step::Binstall);
            }
            plan.steps.push(Step::LinkerPublished { force });
            State::Install("cargo binstall bpf-linker".to_owned())
        }
    };
    let why = match &present.broken_linker {
        Some(broken) => format!("links lb-ebpf ({} does not start)", broken.display()),
        None => "links lb-ebpf and makes its BTF".to_owned(),
    };
    plan.rows.push(Row { group: Group::Toolchain, part: "bpf-linker".to_owned(), state, why });
}

fn plan_components(present: &Present, plan: &mut Plan, packages: &mut Vec<&'static str>) {
    let mut components = Vec::new();
    for (component, there, package, why) in [
        ("rustfmt", present.rustfmt, Some(RUSTFMT_PACKAGE), "the format tier of the tests"),
        ("clippy", present.clippy, None, "the lint tier of the tests"),
    ] {
        let package = package.filter(|name| present.apt.as_ref().is_some_and(|apt| apt.offers(&[name])));
        let state = match (there, &present.rustup, package) {
            (true, ..) => State::Present("component of cargo".to_owned()),
            (false, Some(_), _) => {
                components.push(component);
                State::Install(format!("rustup component {component}"))
            }
            (false, None, Some(package)) => {
                packages.push(package);
                State::Install(format!("package {package}"))
            }
            (false, None, None) => State::Without(format!("no rustup and no package for {component}")),
        };
        plan.rows.push(Row { group: Group::Test, part: component.to_owned(), state, why: why.to_owned() });
    }
    if !components.is_empty() {
        plan.steps.push(Step::Components(components));
    }
}

/// Those of `wanted` that are not installed.
fn missing<const N: usize>(present: &Present, wanted: &[&'static str; N]) -> Vec<&'static str> {
    let installed = |name: &str| present.apt.as_ref().is_some_and(|apt| apt.installed.contains(name));
    wanted.iter().copied().filter(|name| !installed(name)).collect()
}

/// Whether a step installs nginx, whose package starts a service.
pub fn brings_nginx(packages: &[&str]) -> bool {
    packages.contains(&NGINX_PACKAGE)
}

#[cfg(test)]
mod tests;
