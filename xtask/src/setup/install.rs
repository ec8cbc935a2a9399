//! Carries out the steps of a plan.
//!
//! Role: the only place of set-up that changes the machine. Imports `plan`, `packages`, `progress`, `privilege`.
//! Always holds: apt removes nothing; no service is running that was not before.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::packages::{LINKER_FEATURE, LINKER_VERSION, LLVM_PREFIX};
use super::plan::{Step, brings_nginx};
use super::present::has_systemctl;
use crate::ebpf_toolchain::Places;
use crate::privilege::Privilege;
use crate::progress;

/// Where systemd looks first; a unit linked to /dev/null here can not be started.
const NGINX_UNIT: &str = "/etc/systemd/system/nginx.service";

/// No questions; and, where init is no systemd, "single user", in which packages start no services.
const APT_ENV: [(&str, &str); 2] = [("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")];

/// Fetches the package lists.
///
/// # Errors
/// When apt-get fails or root's rights are not to be had.
pub fn update_lists(privilege: Privilege) -> Result<()> {
    let mut command = privilege.command("apt-get", &APT_ENV, "fetch the package lists")?;
    command.args(["-o", "DPkg::Lock::Timeout=120", "update"]);
    progress::step("fetching package lists", "apt-update", &mut command)
}

/// Carries out one step.
///
/// # Errors
/// When it fails; its output is in a log that the error names.
pub fn carry_out(step: &Step, privilege: Privilege) -> Result<()> {
    match step {
        Step::Apt(packages) => apt_install(packages, privilege),
        Step::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
            command.args(["--component", "rust-src", "--no-self-update"]);
            progress::step("installing rustup's nightly with rust-src", "rustup-nightly", &mut command)
        }
        Step::Components(components) => {
            let mut command = Command::new("rustup");
            command.args(["component", "add"]).args(components);
            progress::step(&format!("adding {}", components.join(", ")), "rustup-components", &mut command)
        }
        Step::LinkerFromSource { force } => {
            let mut command = cargo_install("bpf-linker");
            command.args([
                "--version",
                LINKER_VERSION,
                "--no-default-features",
                "--features",
                LINKER_FEATURE,
            ]);
            command.args(force.then_some("--force")).env("LLVM_PREFIX", LLVM_PREFIX);
            progress::step("building bpf-linker (a minute or more)", "bpf-linker", &mut command)
        }
        Step::Binstall => progress::step(
            "building cargo-binstall (several minutes)",
            "cargo-binstall",
            &mut cargo_install("cargo-binstall"),
        ),
        Step::LinkerPublished { force } => {
            let mut command = outside_the_workspace(["binstall", "--no-confirm", "bpf-linker"]);
            command.args(force.then_some("--force"));
            progress::step("fetching bpf-linker", "bpf-linker", &mut command)
        }
    }
}

/// A cargo command that the workspace's configuration and the running build have no part in.
fn outside_the_workspace<const N: usize>(args: [&str; N]) -> Command {
    let mut command = crate::workspace::cargo(args);
    command.current_dir("/").env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    command
}

/// `cargo install` into the directory where the build will look.
fn cargo_install(package: &str) -> Command {
    let mut command = outside_the_workspace(["install", package, "--locked"]);
    if let Some(cargo_home) = Places::of_this_process().cargo_home {
        command.arg("--root").arg(cargo_home);
    }
    command
}

fn apt_install(packages: &[&str], privilege: Privilege) -> Result<()> {
    let mut command = privilege.command("apt-get", &APT_ENV, "install packages")?;
    command.args([
        "-o",
        "DPkg::Lock::Timeout=120",
        "install",
        "-y",
        "--no-install-recommends",
        "--no-remove",
    ]);
    command.args(packages);
    let title = format!("installing {} packages", packages.len());
    if brings_nginx(packages) {
        without_nginx_service(privilege, || progress::step(&title, "apt-install", &mut command))
    } else {
        progress::step(&title, "apt-install", &mut command)
    }
}

/// Runs an installation during which systemd can not start nginx, and keeps it from starting at the next boot.
/// The tests start nginx themselves, in a namespace. A unit that someone else put there is left as it is.
fn without_nginx_service(privilege: Privilege, install: impl FnOnce() -> Result<()>) -> Result<()> {
    if !has_systemctl() || Path::new(NGINX_UNIT).symlink_metadata().is_ok() {
        return install();
    }
    let systemctl = |args: &[&str]| -> Result<()> {
        let mut command = privilege.command("systemctl", &[], "keep nginx from starting")?;
        crate::workspace::run(command.args(args).stdout(Stdio::null()).stderr(Stdio::null()))
    };
    systemctl(&["mask", "nginx.service"])?;
    let installed = install();
    let unmasked = systemctl(&["unmask", "nginx.service"]);
    installed.and(unmasked)?;
    systemctl(&["disable", "nginx.service"])
}

/// Whether the output is for a person who can answer.
pub fn is_interactive() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && env::var_os("CI").is_none()
}
