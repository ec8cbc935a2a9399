//! The test binaries that run on the emulated machine, and the host's files that they need there.
//!
//! Role: builds with cargo and asks ldd. Imports `setup`, `workspace`.
//! Always holds: what is packed is what cargo just built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::ebpf_toolchain::Places;
use crate::setup::{self, Group};
use crate::workspace;

/// Integration tests of `lb-tests` that run there. They may use the programs of [`TOOLS`], `lb-lab` and `lbd`.
const TARGETS: [&str; 3] = ["kernel_fixtures", "kernel_decap", "trunks"];

/// Programs of the host that come along.
const TOOLS: [&str; 4] = ["ip", "ethtool", "ping", "sysctl"];

/// What cargo built.
pub struct Tests {
    /// Name and file of each test, in the order of [`TARGETS`].
    pub tests: Vec<(String, PathBuf)>,
    /// Binaries that tests start.
    pub programs: Vec<PathBuf>,
}

/// The parts that matter of a line that cargo prints with `--message-format json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|is| is == kind)
    }
}

/// What a message is about.
#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the tests.
///
/// # Errors
/// When set-up or the build fails.
pub fn build() -> Result<Tests> {
    setup::ensure(&[Group::Toolchain, Group::Lab])?;
    let mut command = workspace::cargo(["test", "--no-run", "-p", "lb-tests"]);
    for target in TARGETS {
        command.args(["--test", target]);
    }
    command.args(["--message-format", "json-render-diagnostics"]);
    let mut tests = executables(&messages_of(command)?)?;
    let mut command = workspace::cargo(["build", "-p", "lb-userspace", "--bin", "lbd"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    tests.programs.extend(programs(&messages_of(command)?));
    Ok(tests)
}

/// What cargo says to programs.
fn messages_of(mut command: Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "`{}` ended with {}", workspace::shown(&command), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The programs in cargo's messages.
fn programs(messages: &str) -> Vec<PathBuf> {
    artifacts(messages).filter(|(target, _)| target.is("bin")).map(|(_, executable)| executable).collect()
}

/// Every target with an executable in cargo's messages.
fn artifacts(messages: &str) -> impl Iterator<Item = (Target, PathBuf)> + '_ {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| Some((message.target?, message.executable?)))
}

/// The executables in cargo's messages.
fn executables(messages: &str) -> Result<Tests> {
    let mut tests: Vec<(String, PathBuf)> = artifacts(messages)
        .filter(|(target, _)| target.is("test"))
        .map(|(target, executable)| (target.name, executable))
        .collect();
    let programs = programs(messages);
    tests.sort_by_key(|(name, _)| TARGETS.iter().position(|target| target == name));
    let found: Vec<&str> = tests.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(found == TARGETS, "cargo built {found:?} where {TARGETS:?} were asked for");
    Ok(Tests { tests, programs })
}

impl Tests {
    /// Names of the tests.
    pub fn targets(&self) -> Vec<String> {
        self.tests.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Everything that has to be on the machine at the place where it is on the host: the binaries and the shared
    /// libraries of `tools`, too.
    ///
    /// # Errors
    /// When ldd does not know a library.
    pub fn files(&self, tools: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
        let binaries = self.tests.iter().map(|(_, file)| file).chain(&self.programs);
        let mut files: BTreeSet<PathBuf> = binaries.clone().cloned().collect();
        for binary in binaries.chain(tools) {
            files.extend(shared_libraries(binary)?);
        }
        Ok(files)
    }
}

/// The host's programs that come along.
///
/// # Errors
/// When one is missing.
pub fn tools() -> Result<Vec<PathBuf>> {
    let mut places = Places::of_this_process();
    places.path.extend(["/usr/sbin".into(), "/sbin".into()]);
    let file =
        |name| places.program(name).with_context(|| format!("no program {name}: run `cargo xtask setup`"));
    TOOLS.into_iter().map(file).collect()
}

/// The shared libraries of a program, its loader among them.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("ldd").arg(program).output().context("cannot start ldd (Debian package libc-bin)")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("ldd {}: {}", program.display(), complaint.trim());
    }
    libraries(&String::from_utf8_lossy(&output.stdout))
}

/// The files in what ldd prints: `name => /file (address)` and `/loader (address)`.
fn libraries(answer: &str) -> Result<Vec<PathBuf>> {
    if let Some(line) = answer.lines().find(|line| line.contains("not found")) {
        bail!("a library is missing on this machine: {}", line.trim());
    }
    let files = answer.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(files.map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_the_programs_they_start_are_told_apart() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"trunks","kind":["test"]},"executable":"/t/debug/deps/t-1"}
{"reason":"compiler-artifact","target":{"name":"aya","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lb-lab","kind":["bin"]},"executable":"/t/debug/lb-lab"}
{"reason":"compiler-artifact","target":{"name":"kernel_decap","kind":["test"]},"executable":"/t/debug/deps/d-1"}
{"reason":"compiler-artifact","target":{"name":"kernel_fixtures","kind":["test"]},"executable":"/t/debug/deps/k-1"}
{"reason":"build-finished","success":true}"#;
        let built = executables(messages).unwrap();
        let test = |name: &str, file: &str| (name.to_owned(), PathBuf::from(file));
        let expected = [
            test("kernel_fixtures", "/t/debug/deps/k-1"),
            test("kernel_decap", "/t/debug/deps/d-1"),
            test("trunks", "/t/debug/deps/t-1"),
        ];
        assert_eq!(built.tests, expected);
        assert_eq!(built.programs, [PathBuf::from("/t/debug/lb-lab")]);
        assert!(executables("").is_err(), "no test is no success");
    }

    #[test]
    fn every_library_and_the_loader_come_along_and_a_missing_one_is_named() {
        let answer = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let wanted = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(answer).unwrap(), wanted);
        let error = libraries("\tlibbpf.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libbpf.so.1"), "{error}");
    }
}
