//! Whether a lab is gone.
//!
//! Role: looks from outside for what a lab makes, so that "removed" is an observation. Imports the lab library's `Lab`.
//! Always holds: only looks; removing is the lab's business.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::Lab;

/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";

/// By what a lab's things are found.
pub struct Traces {
    id: String,
    dir: PathBuf,
}

impl Traces {
    /// Those of a lab.
    pub fn of(lab: &Lab) -> Self {
        Self { id: lab.id(), dir: lab.dir().to_owned() }
    }

    /// Looks whether the lab is gone.
    ///
    /// # Errors
    /// When a namespace, a mount or a file of it is still there, each of them named.
    pub fn check_gone(&self) -> Result<()> {
        let mut left = self.namespaces(Path::new(NETNS_DIR))?;
        left.extend(self.mounts(&read("/proc/self/mountinfo")?));
        left.extend(self.dir.exists().then(|| format!("directory {}", self.dir.display())));
        ensure!(left.is_empty(), "of the lab {} there is left: {}", self.id, left.join(", "));
        Ok(())
    }

    fn namespaces(&self, netns_dir: &Path) -> Result<Vec<String>> {
        let prefix = format!("{}-", self.id);
        let mut found = Vec::new();
        for entry in fs::read_dir(netns_dir).with_context(|| format!("reading {}", netns_dir.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                found.push(format!("namespace {name}"));
            }
        }
        Ok(found)
    }

    /// Mount points in the lab's directory: the fifth field of a line (proc(5)).
    fn mounts(&self, mount_info: &str) -> Vec<String> {
        let points = mount_info.lines().filter_map(|line| line.split(' ').nth(4));
        let own = points.filter(|point| Path::new(point).starts_with(&self.dir));
        own.map(|point| format!("mount {point}")).collect()
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces() -> Traces {
        Traces { id: "lb-1-2-1-site".to_owned(), dir: "/run/lb-lab/lb-1-2-1-site".into() }
    }

    #[test]
    fn namespaces_of_this_lab_are_found_and_those_of_another_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lb-1-2-1-site-node", "lb-1-2-11-site-node", "other"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(traces().namespaces(dir.path()).unwrap(), ["namespace lb-1-2-1-site-node"]);
    }

    #[test]
    fn mounts_in_the_labs_directory_are_found() {
        let info = "36 35 0:30 / /run/lb-lab/lb-1-2-1-site/node-bpffs rw - bpf bpf rw\n\
                    37 35 0:31 / /sys/fs/bpf rw - bpf bpf rw\n";
        assert_eq!(traces().mounts(info), ["mount /run/lb-lab/lb-1-2-1-site/node-bpffs"]);
    }
}
