//! What a machine has of what the project uses.
//!
//! Role: asks the file system, dpkg and apt; `plan` reads the answer. Imports `ebpf_toolchain`, `packages`.
//! Always holds: asking changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages::{self, COMPILER_CONFLICTS, TOOLS};
use crate::ebpf_toolchain::{Places, Survey};
use crate::privilege::Privilege;

/// What a machine has. Plain data: tests make their own.
#[derive(Clone, Debug)]
pub struct Present {
    /// How root's rights are had.
    pub privilege: Privilege,
    /// The ways to compile eBPF programs, and bpf-linker if it is there and starts.
    pub survey: Survey,
    /// A file called bpf-linker that does not start, such as one whose LLVM was removed.
    pub broken_linker: Option<PathBuf>,
    /// The programs of [`TOOLS`] that are there.
    pub programs: BTreeMap<&'static str, PathBuf>,
    /// apt's view, on a machine that has apt.
    pub apt: Option<Apt>,
    /// rustup, where it manages the compilers.
    pub rustup: Option<PathBuf>,
    /// cargo-binstall, which fetches a bpf-linker that carries its own LLVM.
    pub binstall: Option<PathBuf>,
    /// `cargo fmt` works.
    pub rustfmt: bool,
    /// `cargo clippy` works.
    pub clippy: bool,
}

/// What dpkg and apt know of the packages that matter.
#[derive(Clone, Debug, Default)]
pub struct Apt {
    /// Those that are installed.
    pub installed: BTreeSet<String>,
    /// Those that can be installed with the package lists as they are.
    pub candidates: BTreeSet<String>,
}

impl Apt {
    /// Whether every package is installed or can be.
    pub fn offers(&self, packages: &[&str]) -> bool {
        packages.iter().all(|name| self.candidates.contains(*name) || self.installed.contains(*name))
    }
}

impl Present {
    /// Looks at this machine.
    pub fn on_this_machine() -> Self {
        let places = Places::of_this_process();
        let mut survey = Survey::of(&places);
        let broken_linker = survey.linker.take_if(|linker| !starts(Command::new(linker).arg("--version")));
        // A user's PATH may lack the sbin directories, where sudo finds programs all the same.
        let mut wide = places.clone();
        wide.path.extend(["/usr/sbin".into(), "/sbin".into()]);
        let found = |program: &'static str| Some((program, wide.program(program)?));
        Self {
            privilege: Privilege::of_this_process(&places),
            survey,
            broken_linker,
            programs: TOOLS.iter().filter_map(|tool| found(tool.program)).collect(),
            apt: wide.program("apt-get").map(|_| apt()),
            rustup: places.program("rustup"),
            binstall: places.program("cargo-binstall"),
            rustfmt: starts(crate::workspace::cargo(["fmt", "--version"]).stdin(Stdio::null())),
            clippy: starts(crate::workspace::cargo(["clippy", "--version"]).stdin(Stdio::null())),
        }
    }
}

/// Whether a command can be started and ends with 0.
fn starts(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a command prints, in English; nothing when it fails.
fn printed(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("LC_ALL", "C").stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn apt() -> Apt {
    let mut names = packages::all_packages();
    names.extend(COMPILER_CONFLICTS);
    let mut query = vec!["-W", "-f=${Package} ${db:Status-Status}\n"];
    query.extend(&names);
    let mut policy = vec!["policy"];
    policy.extend(&names);
    Apt {
        installed: installed(&printed("dpkg-query", &query)),
        candidates: candidates(&printed("apt-cache", &policy)),
    }
}

/// The installed ones of dpkg-query's lines `name status`.
fn installed(answer: &str) -> BTreeSet<String> {
    answer
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, status)| *status == "installed")
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The packages with a candidate in the answer of `apt-cache policy`.
fn candidates(answer: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut package = None;
    for line in answer.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = Some(name.to_owned());
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ") {
            found.extend(package.take().filter(|_| version != "(none)"));
        }
    }
    found
}

/// Whether systemd is installed; it need not run.
pub fn has_systemctl() -> bool {
    Path::new("/usr/bin/systemctl").exists() || Path::new("/bin/systemctl").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_was_removed_is_not_installed() {
        let answer = "gcc installed\nwrk config-files\ncurl not-installed\n";
        assert_eq!(installed(answer), BTreeSet::from(["gcc".to_owned()]));
    }

    #[test]
    fn a_package_known_without_a_candidate_cannot_be_installed() {
        let answer = "gcc:\n  Installed: (none)\n  Candidate: 4:12.2.0-3\n  Version table:\n     4:12.2.0-3 500\n\
                      rust-clippy-web:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(candidates(answer), BTreeSet::from(["gcc".to_owned()]));
    }
}
