//! Where our binaries are: beside the running one, in the workspace's target directory.
//!
//! Cargo puts a binary in `target/PROFILE/` and a test in `target/PROFILE/deps/`; both lead here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The lab's own programs (`lb-lab serve`, `lb-lab decap`). `LB_LAB_BIN` overrides where it is.
///
/// # Errors
/// When it is not built; the message says how to.
pub fn lb_lab() -> Result<PathBuf> {
    find("lb-lab", "LB_LAB_BIN", "cargo build -p lb-tests --bin lb-lab")
}

/// The agent. `LBD_BIN` overrides where it is.
///
/// # Errors
/// As [`lb_lab`].
pub fn lbd() -> Result<PathBuf> {
    find("lbd", "LBD_BIN", "cargo xtask build")
}

/// The operator's command. `LBCTL_BIN` overrides where it is.
///
/// # Errors
/// As [`lb_lab`].
pub fn lbctl() -> Result<PathBuf> {
    find("lbctl", "LBCTL_BIN", "cargo xtask build")
}

fn find(name: &str, variable: &str, build: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            bail!("{variable} is {}, which is no file", path.display())
        };
    }
    let current = std::env::current_exe().context("asking where this program is")?;
    let candidates = candidates(&current, name);
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!(
            "{name} is not built: run `{build}` or set {variable} to its path; looked at {}",
            candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Where the binary may be, the likeliest first: the profile of the running program, then the other one.
fn candidates(current: &Path, name: &str) -> Vec<PathBuf> {
    let is_profile = |dir: &&Path| dir.ends_with("debug") || dir.ends_with("release");
    let Some(own) = current.ancestors().skip(1).find(is_profile) else {
        return current.parent().map(|dir| dir.join(name)).into_iter().collect();
    };
    let other = if own.ends_with("debug") { "release" } else { "debug" };
    [own.join(name), own.with_file_name(other).join(name)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_finds_the_binary_of_its_own_profile_first() {
        let found = candidates(Path::new("/w/target/release/deps/lab-1a2b"), "lbd");
        assert_eq!(found, [PathBuf::from("/w/target/release/lbd"), PathBuf::from("/w/target/debug/lbd")]);
    }

    #[test]
    fn outside_a_target_directory_the_binary_is_looked_for_beside_the_program() {
        assert_eq!(candidates(Path::new("/opt/lb/xtask"), "lbd"), [PathBuf::from("/opt/lb/lbd")]);
    }

    #[test]
    fn a_missing_binary_is_reported_with_the_command_that_builds_it() {
        let error = find("lb-missing", "LB_MISSING_BIN", "cargo build -p missing").unwrap_err();
        assert!(error.to_string().contains("cargo build -p missing"), "{error}");
    }
}
