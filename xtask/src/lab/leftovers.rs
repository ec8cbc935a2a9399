//! Whether the lab is gone.
//!
//! Role: looks from outside for what labs of this process make, so that "removed" is an observation. Imports the lab
//! library's names.
//! Always holds: only looks; removing is the lab's business.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::LABS_DIR;

/// Where `ip netns` keeps its names.
const NETNS_DIR: &str = "/run/netns";

/// Looks whether every lab of this process is gone.
///
/// # Errors
/// When a namespace, a mount or a directory is still there, each of them named.
pub fn check_gone() -> Result<()> {
    // `Lab::id` begins with the process id of the lab's owner.
    let prefix = format!("lb-{}-", std::process::id());
    let mut left = names("namespace", Path::new(NETNS_DIR), &prefix)?;
    left.extend(names("directory", Path::new(LABS_DIR), &prefix)?);
    let mount_info = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    left.extend(mounts(&mount_info, &format!("{LABS_DIR}/{prefix}")));
    ensure!(left.is_empty(), "not everything of the lab could be removed; left: {}", left.join(", "));
    Ok(())
}

/// What a directory has with this prefix.
fn names(what: &str, dir: &Path, prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            found.push(format!("{what} {name}"));
        }
    }
    Ok(found)
}

/// Mount points with this prefix: the fifth field of a line is the mount point (proc(5)).
fn mounts(mount_info: &str, prefix: &str) -> Vec<String> {
    let points = mount_info.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(prefix)).map(|point| format!("mount {point}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_prefix_is_found_and_what_another_process_made_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lb-12-3-1-site-node", "lb-123-3-1-site-node", "other"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names("namespace", dir.path(), "lb-12-").unwrap(), ["namespace lb-12-3-1-site-node"]);
        assert_eq!(names("namespace", &dir.path().join("none"), "lb-12-").unwrap(), [""; 0]);
    }

    #[test]
    fn mounts_with_the_prefix_are_found() {
        let info = "36 35 0:30 / /run/lb-lab/lb-12-3-1-site/node-bpffs rw - bpf bpf rw\n\
                    37 35 0:31 / /sys/fs/bpf rw - bpf bpf rw\n";
        assert_eq!(mounts(info, "/run/lb-lab/lb-12-"), ["mount /run/lb-lab/lb-12-3-1-site/node-bpffs"]);
    }
}
