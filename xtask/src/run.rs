//! `cargo xtask run`: `lbd` on this node, or the built-in lab where there is no configuration.
//!
//! Role: one command. Imports `build`, `lab`, `privilege`, `setup`.
//! Always holds: the lab is what runs unless a configuration is named or the default one exists.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::ebpf_toolchain::Places;
use crate::privilege::Privilege;
use crate::setup::{self, Group};
use crate::{build, lab};

/// The configuration that is used when it exists and none is named.
const DEFAULT_CONFIG: &str = "/etc/lb/lb.toml";

/// Options of `cargo xtask run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Run lbd on this node with this file [default: /etc/lb/lb.toml when it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run the built-in lab unattended: end with 0 only if all was well
    #[arg(long, conflicts_with_all = ["config", "lbd_args"])]
    check: bool,
    /// More arguments for lbd
    #[arg(last = true, value_name = "LBD ARGS")]
    lbd_args: Vec<String>,
}

/// `cargo xtask run`.
///
/// # Errors
/// When set-up, the build or the start fails.
pub fn command(args: &RunArgs) -> Result<ExitCode> {
    if args.check {
        return lab::demo(true, false);
    }
    let default = Path::new(DEFAULT_CONFIG);
    match &args.config {
        Some(config) if config.is_file() => run_lbd(config, &args.lbd_args),
        Some(config) => bail!("{} is no file; examples/ has configurations to start from", config.display()),
        None if default.is_file() => run_lbd(default, &args.lbd_args),
        None if !args.lbd_args.is_empty() => {
            bail!(
                "arguments for lbd, but no configuration: give --config FILE ({DEFAULT_CONFIG} is not there)"
            )
        }
        None => {
            println!("No --config FILE and no {DEFAULT_CONFIG}: starting the built-in lab.");
            lab::demo(false, false)
        }
    }
}

/// Builds `lbd` and becomes it.
fn run_lbd(config: &Path, lbd_args: &[String]) -> Result<ExitCode> {
    let config = config.canonicalize().with_context(|| format!("cannot open {}", config.display()))?;
    setup::ensure(&[Group::Toolchain])?;
    let lbd = build::binaries(true)?.join("lbd");
    let privilege = Privilege::of_this_process(&Places::of_this_process());
    let mut command = privilege.command(&lbd, &[], "load an XDP program")?;
    command.arg("run").arg("--config").arg(config).args(lbd_args);
    Err(command.exec()).with_context(|| format!("cannot start {}", lbd.display()))
}
