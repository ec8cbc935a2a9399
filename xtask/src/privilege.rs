//! Root, sudo, or neither.
//!
//! Role: shared by the commands that need root for a part of what they do. Imports nothing of ours.
//! Always holds: what need not run as root does not; only single commands are raised.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::ebpf_toolchain::Places;

/// How this process comes by root's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It has them.
    Root,
    /// sudo gives them to single commands.
    Sudo,
    /// There is no way.
    None,
}

impl Privilege {
    /// That of this process.
    pub fn of_this_process(places: &Places) -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root
        } else if places.program("sudo").is_some() {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// A command that runs `program` as root with these variables set.
    ///
    /// # Errors
    /// When there is no way; `purpose` completes "root is needed to".
    pub fn command(self, program: impl AsRef<OsStr>, env: &[(&str, &str)], purpose: &str) -> Result<Command> {
        match self {
            Self::Root => {
                let mut command = Command::new(program);
                command.envs(env.iter().copied());
                Ok(command)
            }
            Self::Sudo => {
                let mut command = Command::new("sudo");
                // `env`, because sudo's policy may refuse variables on its own command line.
                if !env.is_empty() {
                    command.arg("env").args(env.iter().map(|(name, value)| format!("{name}={value}")));
                }
                command.arg(program);
                Ok(command)
            }
            Self::None => bail!(
                "root is needed to {purpose} ({}): run as root, or install sudo",
                Path::new(program.as_ref()).display()
            ),
        }
    }
}
