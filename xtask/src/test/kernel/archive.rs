//! Debian's archive, apart from the host's: lists and packages in a directory of our own.
//!
//! Role: the only caller of apt and dpkg here. Imports `progress`.
//! Always holds: the host's sources, lists and installed packages are neither used nor changed; signatures are checked
//! against Debian's keys as the package `debian-archive-keyring` brings them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::progress;

/// Debian's archive, and that of its security updates.
const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";

/// Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Name of the file with our settings of apt.
const CONFIGURATION: &str = "apt.conf";

/// What the host's apt calls when lists or packages came, and other architectures that it wants packages of.
const HOOKS: [&str; 4] = [
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Post-Invoke",
    "APT::Architectures",
];

/// A Debian release's packages for amd64.
pub struct Archive {
    directory: PathBuf,
    release: &'static str,
}

impl Archive {
    /// The archive of a release (`bookworm`) with its state in `directory`; fetches its lists.
    ///
    /// # Errors
    /// Without apt or Debian's keys, or when the archive cannot be reached.
    pub fn open(directory: &Path, release: &'static str) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "no {KEYRING}: install the package debian-archive-keyring, which has Debian's keys"
        );
        for part in ["lists/partial", "cache/archives/partial", "log", "none"] {
            let path = directory.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let archive = Self { directory: directory.to_owned(), release };
        archive.write("sources.list", &sources(release))?;
        // No package is installed here, so what is asked for comes with all it depends on.
        archive.write("status", "")?;
        archive.write(CONFIGURATION, &configuration(directory))?;
        let mut update = archive.apt("apt-get");
        progress::step(
            &format!("fetching the package lists of Debian {release}"),
            &format!("apt-update-{release}"),
            update.arg("update"),
        )?;
        Ok(archive)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// An apt command that knows nothing of the host's archives and packages. The host's proxies and the like apply.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        // Read after the host's configuration, so that ours wins.
        command.arg("-c").arg(self.directory.join(CONFIGURATION));
        command
    }

    /// The package that a metapackage stands for: its only dependency whose name begins with `prefix`.
    ///
    /// # Errors
    /// When there is none.
    pub fn behind(&self, metapackage: &str, prefix: &str) -> Result<String> {
        let mut command = self.apt("apt-cache");
        let output = command.args(["depends", "--important", metapackage]).stderr(Stdio::inherit()).output();
        let output = output.context("cannot start apt-cache")?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        dependency(&answer, prefix).with_context(|| {
            format!("Debian {} has no package {metapackage} that depends on a {prefix}…", self.release)
        })
    }

    /// Fetches packages, with what they depend on if asked for, and unpacks them below `root`, which appears as a whole
    /// or not at all.
    ///
    /// # Errors
    /// When they cannot be fetched or unpacked.
    pub fn unpack(&self, packages: &[&str], with_dependencies: bool, root: &Path) -> Result<()> {
        let fetched = self.directory.join(if with_dependencies { "cache/archives" } else { "fetched" });
        fs::create_dir_all(&fetched).with_context(|| format!("cannot make {}", fetched.display()))?;
        let mut command = self.apt("apt-get");
        if with_dependencies {
            command.args(["install", "--yes", "--download-only"]);
        } else {
            command.current_dir(&fetched).arg("download");
        }
        let title = format!("fetching {}", packages.join(", "));
        progress::step(&title, &format!("apt-fetch-{}", packages[0]), command.args(packages))?;
        let partial = root.with_extension("partial");
        remove(&partial)?;
        for package in debs(&fetched)? {
            extract(&package, &partial)?;
        }
        remove(root)?;
        fs::rename(&partial, root).with_context(|| format!("cannot make {}", root.display()))?;
        remove(&fetched)
    }
}

/// apt's settings: everything it reads and writes is in `directory`, and nothing of the host's is called.
fn configuration(directory: &Path) -> String {
    let own = |name: &str| directory.join(name).display().to_string();
    let mut text = HOOKS.map(|hook| format!("#clear {hook};\n")).concat();
    for (option, value) in [
        ("Dir::Etc::sourcelist", own("sources.list")),
        ("Dir::Etc::sourceparts", own("none")),
        ("Dir::Etc::preferences", own("none/preferences")),
        ("Dir::Etc::preferencesparts", own("none")),
        ("Dir::State", own("")),
        ("Dir::State::lists", own("lists")),
        ("Dir::State::status", own("status")),
        ("Dir::Cache", own("cache")),
        ("Dir::Log", own("log")),
        ("APT::Architecture", "amd64".to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        // Descriptions for software centres, as large as the lists.
        ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
    ] {
        let _ = writeln!(text, "{option} \"{value}\";");
    }
    text
}

fn sources(release: &str) -> String {
    format!(
        "deb [arch=amd64 signed-by={KEYRING}] {MIRROR} {release} main\n\
         deb [arch=amd64 signed-by={KEYRING}] {SECURITY_MIRROR} {release}-security main\n"
    )
}

/// The dependency with this prefix in the answer of `apt-cache depends`.
fn dependency(answer: &str, prefix: &str) -> Option<String> {
    let mut names = answer.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.find(|name| name.starts_with(prefix)).map(str::to_owned)
}

/// The packages in a directory.
fn debs(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        found.extend(path.extension().is_some_and(|it| it == "deb").then_some(path.clone()));
    }
    ensure!(!found.is_empty(), "apt-get fetched nothing to {}", directory.display());
    found.sort();
    Ok(found)
}

fn extract(package: &Path, into: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    let status = command.arg("--extract").arg(package).arg(into).status();
    let status = status.context("cannot start dpkg-deb: --kernel unpacks Debian's packages with it")?;
    if !status.success() {
        bail!("dpkg-deb could not unpack {} ({status})", package.display());
    }
    Ok(())
}

/// Removes a directory of ours, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metapackage_names_the_kernel_that_is_current() {
        let answer = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        let kernel = dependency(answer, "linux-image-");
        assert_eq!(kernel.as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n", "linux-image-"), None);
    }

    #[test]
    fn packages_come_from_signed_archives_with_security_updates() {
        let sources = sources("trixie");
        assert_eq!(sources.lines().count(), 2);
        assert!(sources.lines().all(|line| line.contains(KEYRING)), "{sources}");
        assert!(sources.contains(" trixie-security main"), "{sources}");
    }

    #[test]
    fn apt_reads_and_writes_in_our_directory_only_and_checks_signatures() {
        let text = configuration(Path::new("/t/kernels/x"));
        for option in [
            "Dir::Etc::sourcelist",
            "Dir::Etc::sourceparts",
            "Dir::State",
            "Dir::State::status",
            "Dir::Cache",
        ] {
            assert!(text.contains(&format!("\n{option} \"/t/kernels/x/")), "{option}: {text}");
        }
        assert!(!text.contains("Unauthenticated") && !text.contains("Insecure"), "{text}");
    }
}
