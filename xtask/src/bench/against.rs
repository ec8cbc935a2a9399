//! The datapath of another revision, to measure the present one against.
//!
//! Role: checks the revision out beside the build directory, builds its eBPF object, and takes the checkout away.
//! Imports `ebpf_toolchain`, `workspace`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::ebpf_toolchain::{Places, Survey};
use crate::workspace;

/// Name of the datapath's object in a build.
const OBJECT: &str = "lb-datapath";

/// Builds the object of `revision`. Returns its path.
///
/// # Errors
/// When git does not know the revision, or it does not build.
pub fn build(revision: &str) -> Result<PathBuf> {
    let directory = workspace::target_dir().join("against");
    let checkout = Checkout::new(revision, directory.join("source"))?;
    let toolchain = Survey::of(&Places::of_this_process()).toolchain()?;
    eprintln!("building the datapath of {revision}");
    let built = toolchain.build(&checkout.0.join("lb-ebpf"), &directory.join("build"))?;
    let object = directory.join(format!("{OBJECT}.o"));
    std::fs::copy(built.objects_dir.join(OBJECT), &object).context("copying the object")?;
    Ok(object)
}

/// A worktree that is removed in the end.
struct Checkout(PathBuf);

impl Checkout {
    fn new(revision: &str, path: PathBuf) -> Result<Self> {
        let checkout = Self(path);
        // One that an interrupted run left behind.
        checkout.remove();
        let status =
            git().args(["worktree", "add", "--force", "--detach"]).arg(&checkout.0).arg(revision).status();
        ensure!(status.context("cannot start git")?.success(), "git cannot check {revision} out");
        Ok(checkout)
    }

    fn remove(&self) {
        if self.0.exists() {
            let removed = git().args(["worktree", "remove", "--force"]).arg(&self.0).status();
            if !removed.is_ok_and(|status| status.success()) {
                eprintln!("could not remove the worktree {}", self.0.display());
            }
        }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.remove();
    }
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(workspace::root());
    git
}
