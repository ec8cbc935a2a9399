//! The machine's root file system: an archive that the kernel unpacks into memory.
//!
//! Role: writes one file from what the siblings found. Imports `binaries`, `emulator`, `image`.
//! Always holds: files of the host are at the places where they are on the host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

use super::super::TestArgs;
use super::binaries::{self, Tests};
use super::emulator::Emulator;
use super::image::Image;

/// The first process.
const INIT: &str = include_str!("init.sh");

/// Permissions of programs and directories, and of other files.
const EXECUTABLE: u32 = 0o755;
const READABLE: u32 = 0o644;

/// Writes the archive to `directory`; returns its file.
///
/// # Errors
/// When a part cannot be read or the archive cannot be written.
pub fn write(
    directory: &Path,
    tests: &Tests,
    image: &Image,
    emulator: &Emulator,
    args: &TestArgs,
) -> Result<PathBuf> {
    let path = directory.join("initrd.cpio");
    let mut archive = Archive::create(&path)?;
    archive.add("init", INIT.as_bytes(), EXECUTABLE)?;
    archive.add_file(&emulator.busybox(), "bin/busybox")?;
    let tools = binaries::tools()?;
    for tool in &tools {
        let name = tool.file_name().context("a program has a name")?;
        archive.add_file(tool, &format!("usr/bin/{}", name.display()))?;
    }
    for file in tests.files(&tools)? {
        archive.add_file(&file, &in_archive(&file)?)?;
    }
    let mut modules = Vec::new();
    for module in image.modules()? {
        let name = module.file_name().context("a module has a name")?.display().to_string();
        archive.add_file(&module, &format!("modules/{name}"))?;
        modules.push(name);
    }
    archive.add("modules/order", lines(&modules).as_bytes(), READABLE)?;
    archive.add("tests/arguments", lines(&arguments(args)?).as_bytes(), READABLE)?;
    let order: Vec<String> =
        tests.tests.iter().map(|(name, file)| format!("{name} {}", file.display())).collect();
    archive.add("tests/order", lines(&order).as_bytes(), READABLE)?;
    archive.finish()?;
    Ok(path)
}

fn lines(items: &[String]) -> String {
    items.iter().flat_map(|item| [item.as_str(), "\n"]).collect()
}

/// Arguments of every test binary, which the machine reads line by line.
fn arguments(args: &TestArgs) -> Result<Vec<String>> {
    // A serial port is a terminal, and colours would hide the results from `tally`.
    let mut arguments = vec!["--color".to_owned(), "never".to_owned()];
    arguments.extend(args.filters.iter().cloned());
    arguments.extend(args.long.then(|| "--include-ignored".to_owned()));
    ensure!(arguments.iter().all(|it| !it.contains('\n')), "no test's name has a line break in it");
    Ok(arguments)
}

/// The name in the archive of a file that keeps its place.
fn in_archive(path: &Path) -> Result<String> {
    let relative = path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?;
    let name = relative.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    // `init.sh` splits lines at blanks.
    ensure!(
        !name.contains(char::is_whitespace),
        "a blank in {}: the machine cannot run that",
        path.display()
    );
    Ok(name.to_owned())
}

/// An archive under construction.
struct Archive {
    path: PathBuf,
    file: BufWriter<File>,
    directories: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            directories: BTreeSet::new(),
            entries: 0,
        })
    }

    /// Adds a file of the host with what it contains, also when it is a symbolic link there.
    fn add_file(&mut self, from: &Path, name: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add(name, &content, EXECUTABLE)
    }

    fn add(&mut self, name: &str, content: &[u8], permissions: u32) -> Result<()> {
        let parents: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            if self.directories.insert(parent.to_owned()) {
                self.entry(&parent.display().to_string(), ModeFileType::Directory, EXECUTABLE, &[])?;
            }
        }
        self.entry(name, ModeFileType::Regular, permissions, content)
    }

    fn entry(&mut self, name: &str, kind: ModeFileType, permissions: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large for cpio"))?;
        let builder = Builder::new(name).ino(self.entries).mode(permissions).set_mode_file_type(kind);
        let mut writer = builder.write(&mut self.file, size);
        let written = writer.write_all(content).and_then(|()| writer.finish().map(drop));
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(self) -> Result<()> {
        let written = trailer(self.file).and_then(|mut file| file.flush());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_once_and_files_keep_their_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.cpio");
        let mut archive = Archive::create(&path).unwrap();
        archive.add("usr/bin/ip", b"abcde", EXECUTABLE).unwrap();
        archive.add("usr/lib/x", b"", READABLE).unwrap();
        archive.finish().unwrap();
        let mut reader = cpio::NewcReader::new(File::open(&path).unwrap()).unwrap();
        let mut found = Vec::new();
        while !reader.entry().is_trailer() {
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            let rest = reader.to_writer(&mut content).unwrap();
            found.push((name, mode, content));
            reader = cpio::NewcReader::new(rest).unwrap();
        }
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["usr", "usr/bin", "usr/bin/ip", "usr/lib", "usr/lib/x"]);
        assert_eq!((found[0].1, found[2].1, found[4].1), (0o040_755, 0o100_755, 0o100_644));
        assert_eq!(found[2].2, b"abcde");
    }

    #[test]
    fn filters_reach_the_tests_and_colours_do_not() {
        let mut args = TestArgs { long: true, only: vec![], kernel: vec![], filters: vec!["a b".to_owned()] };
        assert_eq!(arguments(&args).unwrap(), ["--color", "never", "a b", "--include-ignored"]);
        args.filters.push("a\nb".to_owned());
        assert!(arguments(&args).is_err());
    }

    #[test]
    fn a_place_that_the_machine_cannot_read_is_refused() {
        assert_eq!(in_archive(Path::new("/w/target/debug/deps/a-1")).unwrap(), "w/target/debug/deps/a-1");
        assert!(in_archive(Path::new("/w x/target/a")).is_err());
        assert!(in_archive(Path::new("target/a")).is_err());
    }
}
