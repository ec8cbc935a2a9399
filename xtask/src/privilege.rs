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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::shown;

    #[test]
    fn root_runs_the_program_itself() {
        let command = Privilege::Root.command("apt-get", &[("A", "b")], "install").unwrap();
        assert_eq!(shown(&command), "A=b apt-get");
    }

    #[test]
    fn sudo_raises_one_command_and_carries_its_variables() {
        let command = Privilege::Sudo.command("apt-get", &[("A", "b")], "install").unwrap();
        assert_eq!(shown(&command), "sudo env A=b apt-get");
    }

    #[test]
    fn with_neither_the_error_says_what_for_and_what_to_do() {
        let error = Privilege::None.command("apt-get", &[], "install packages").unwrap_err().to_string();
        assert!(error.contains("install packages (apt-get)") && error.contains("sudo"), "{error}");
    }
}
