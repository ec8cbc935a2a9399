//! Finds a toolchain that can build `lb-ebpf` and builds it.
//!
//! Role: shared, as source, by xtask and by lb-userspace's build script, so that there is one idea of what a
//! complete toolchain is. Imports std only: a build script has no other dependency for it.
//! Always holds: the environment of the build is cleared of what the outer cargo, clippy or rust-analyzer put
//! there; what is built depends on the toolchain found here and on the sources alone.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of every eBPF program: little endian, as x86-64 and arm64 kernels expect.
pub const TARGET: &str = "bpfel-unknown-none";

/// Flags of the eBPF build: jumps and arithmetic of 32 bits (kernel 5.1), and BTF made from debug information.
const RUSTFLAGS: [&str; 6] = ["-C", "target-cpu=v3", "-C", "link-arg=--btf", "-C", "debuginfo=2"];

/// Prefixes of `CARGO_*` variables that say where crates come from and how cargo prints; the others describe the
/// outer build and must not reach the inner one.
const KEPT_CARGO_PREFIXES: [&str; 7] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// Variables of the outer build that would change the compiler, its flags or where it writes.
const OUTER_BUILD_VARIABLES: [&str; 11] = [
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "OUT_DIR",
];

/// Where toolchains are looked for. Tests point it at a directory of their own.
#[derive(Clone, Debug)]
pub struct Places {
    /// Root of the file system.
    pub system_root: PathBuf,
    /// Cargo's home: `$CARGO_HOME`, else `~/.cargo`.
    pub cargo_home: Option<PathBuf>,
    /// rustup's home: `$RUSTUP_HOME`, else `~/.rustup`.
    pub rustup_home: Option<PathBuf>,
    /// Directories of `$PATH`.
    pub path: Vec<PathBuf>,
}

impl Places {
    /// The places that the environment of this process names.
    pub fn of_this_process() -> Self {
        let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let under_home = |variable: &str, directory: &str| {
            env::var_os(variable)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(directory)))
        };
        Self {
            system_root: PathBuf::from("/"),
            cargo_home: under_home("CARGO_HOME", ".cargo"),
            rustup_home: under_home("RUSTUP_HOME", ".rustup"),
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
        }
    }

    /// The first file named `program` on the path, else in cargo's own bin directory.
    pub fn program(&self, program: &str) -> Option<PathBuf> {
        let cargo_bin = self.cargo_home.iter().map(|home| home.join("bin"));
        self.path.iter().cloned().chain(cargo_bin).map(|dir| dir.join(program)).find(|file| file.is_file())
    }
}

/// Which of the two ways a compiler belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The distribution's rustc and cargo, with a compiled `core` for the target.
    Distribution,
    /// rustup's nightly with the source of the standard library; `core` is built on the way.
    Nightly,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distribution => "distribution packages",
            Self::Nightly => "rustup nightly with rust-src",
        })
    }
}

/// A compiler that can make code for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Which way it belongs to.
    pub way: Way,
    /// Its cargo.
    pub cargo: PathBuf,
    /// Its rustc.
    pub rustc: PathBuf,
}

/// What there is of the two ways.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The distribution's compiler, or what it lacks.
    pub distribution: Result<Compiler, Vec<String>>,
    /// rustup's nightly, or what it lacks.
    pub nightly: Result<Compiler, Vec<String>>,
    /// bpf-linker, which both ways need.
    pub linker: Option<PathBuf>,
}

/// A complete way to build eBPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// bpf-linker.
    pub linker: PathBuf,
}

/// Why no toolchain can build `lb-ebpf`, or why the build failed.
#[derive(Debug)]
pub enum ToolchainError {
    /// Neither way is complete.
    Incomplete(String),
    /// The compiler could not be started.
    Start {
        /// The cargo that was started.
        cargo: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The compiler said no.
    Build {
        /// Which way was used.
        way: Way,
        /// What cargo and rustc printed.
        output: String,
    },
}

impl std::error::Error for ToolchainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start { source, .. } => Some(source),
            Self::Incomplete(_) | Self::Build { .. } => None,
        }
    }
}

impl fmt::Display for ToolchainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete(missing) => {
                write!(f, "no complete toolchain for {TARGET}; run `cargo xtask setup`\n{missing}")
            }
            Self::Start { cargo, source } => write!(f, "cannot start {}: {source}", cargo.display()),
            Self::Build { way, output } => {
                write!(
                    f,
                    "lb-ebpf does not build (with {way}; docs/building.md has the steps by hand)\n{output}"
                )
            }
        }
    }
}

impl Survey {
    /// Looks at what is installed; starts no program.
    pub fn of(places: &Places) -> Self {
        Self {
            distribution: distribution(places),
            nightly: nightly(places),
            linker: places.program("bpf-linker"),
        }
    }

    /// A compiler, the distribution's before nightly: it changes only with the distribution's updates.
    pub fn compiler(&self) -> Option<&Compiler> {
        self.distribution.as_ref().ok().or_else(|| self.nightly.as_ref().ok())
    }

    /// The toolchain to build with.
    ///
    /// # Errors
    /// [`ToolchainError::Incomplete`] names what each way lacks.
    pub fn toolchain(&self) -> Result<Toolchain, ToolchainError> {
        match (self.compiler(), &self.linker) {
            (Some(compiler), Some(linker)) => {
                Ok(Toolchain { compiler: compiler.clone(), linker: linker.clone() })
            }
            _ => Err(ToolchainError::Incomplete(self.what_is_missing())),
        }
    }

    /// A line for each thing that keeps the toolchain from being complete.
    fn what_is_missing(&self) -> String {
        let mut lines = Vec::new();
        if self.compiler().is_none() {
            for (way, lacks) in [
                (Way::Distribution, self.distribution.as_ref().err()),
                (Way::Nightly, self.nightly.as_ref().err()),
            ] {
                lines.push(format!("  {way}: {} missing", lacks.map_or(String::new(), |it| it.join(", "))));
            }
        }
        if self.linker.is_none() {
            lines.push("  both: bpf-linker missing on PATH and in cargo's bin directory".to_owned());
        }
        lines.join("\n")
    }
}

/// The distribution's rustc and cargo with `core` for the target.
fn distribution(places: &Places) -> Result<Compiler, Vec<String>> {
    let rustc = places.system_root.join("usr/bin/rustc");
    let cargo = places.system_root.join("usr/bin/cargo");
    let core_dir = places.system_root.join("usr/lib/rustlib").join(TARGET).join("lib");
    let has_core = children(&core_dir).iter().any(|file| starts_with(file, "libcore-") && is_rlib(file));
    let lacks = lacking([
        (rustc.is_file(), rustc.display().to_string()),
        (cargo.is_file(), cargo.display().to_string()),
        (has_core, format!("core for {TARGET} in {}", core_dir.display())),
    ]);
    if lacks.is_empty() { Ok(Compiler { way: Way::Distribution, cargo, rustc }) } else { Err(lacks) }
}

/// rustup's nightly with rust-src. A dated nightly will do where there is no plain one.
fn nightly(places: &Places) -> Result<Compiler, Vec<String>> {
    let Some(rustup_home) = &places.rustup_home else { return Err(vec!["rustup's home".to_owned()]) };
    let toolchains = children(&rustup_home.join("toolchains"));
    let mut lacks = vec!["a nightly toolchain of rustup".to_owned()];
    for toolchain in toolchains.iter().filter(|dir| starts_with(dir, "nightly-")) {
        let rustc = toolchain.join("bin/rustc");
        let cargo = toolchain.join("bin/cargo");
        let source = toolchain.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        lacks = lacking([
            (rustc.is_file(), rustc.display().to_string()),
            (cargo.is_file(), cargo.display().to_string()),
            (source.is_file(), format!("component rust-src of {}", toolchain.display())),
        ]);
        if lacks.is_empty() {
            return Ok(Compiler { way: Way::Nightly, cargo, rustc });
        }
    }
    Err(lacks)
}

/// The names of the parts that are not there.
fn lacking<const N: usize>(parts: [(bool, String); N]) -> Vec<String> {
    parts.into_iter().filter(|(there, _)| !there).map(|(_, name)| name).collect()
}

/// Entries of a directory, sorted, none when it cannot be read. `nightly-x86_64…` sorts behind `nightly-2026-…`:
/// the order is reversed so that the plain nightly is preferred, then the newest date.
fn children(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort_unstable_by(|a, b| b.cmp(a));
    entries
}

fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix))
}

fn is_rlib(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rlib")
}

impl Toolchain {
    /// Builds every program of the package at `package_dir` into `target_dir`, which no other cargo may use at the
    /// same time, and returns the directory of the objects and what the compiler warned of.
    ///
    /// # Errors
    /// [`ToolchainError::Start`] and [`ToolchainError::Build`].
    pub fn build(&self, package_dir: &Path, target_dir: &Path) -> Result<Built, ToolchainError> {
        let output = self
            .command(package_dir, target_dir)
            .output()
            .map_err(|source| ToolchainError::Start { cargo: self.compiler.cargo.clone(), source })?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(ToolchainError::Build { way: self.compiler.way, output: printed });
        }
        let warnings =
            printed.lines().filter(|line| line.starts_with("warning: ")).map(ToOwned::to_owned).collect();
        Ok(Built { objects_dir: target_dir.join(TARGET).join("release"), warnings })
    }

    /// The cargo command of the eBPF build, with an environment of its own.
    fn command(&self, package_dir: &Path, target_dir: &Path) -> Command {
        let mut command = Command::new(&self.compiler.cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| belongs_to_outer_build(name)) {
            command.env_remove(name);
        }
        let mut rustflags: Vec<OsString> = RUSTFLAGS.map(OsString::from).to_vec();
        let mut linker = OsString::from("linker=");
        linker.push(&self.linker);
        rustflags.extend([OsString::from("-C"), linker]);
        command
            .current_dir(package_dir)
            .args(["build", "--release", "--bins", "--target", TARGET, "--target-dir"])
            .arg(target_dir)
            .env("RUSTC", &self.compiler.rustc)
            // aya-ebpf needs `asm_experimental_arch`, which a release compiler allows under this switch only.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join(OsStr::new("\u{1f}")))
            .stdin(Stdio::null());
        if self.compiler.way == Way::Nightly {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// Directory of the objects, one for each program, named after it.
    pub objects_dir: PathBuf,
    /// The compiler's warnings, a line each.
    pub warnings: Vec<String>,
}

/// Whether an environment variable describes the outer build.
pub fn belongs_to_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let kept = KEPT_CARGO_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (name == "CARGO" || name.starts_with("CARGO_")) && !kept || OUTER_BUILD_VARIABLES.contains(&name)
}
