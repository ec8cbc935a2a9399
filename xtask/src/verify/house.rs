//! House rules that clippy does not know: module headers, sizes of files, and no panics by design.
//!
//! Role: reads every source file of ours. Imports `source`.
//! Always holds: a directory without sources is an error, so a renamed package is not passed over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::source::{self, Gate};

/// Directories with sources, and whether all in them is tests and their library.
const SOURCES: [(&str, bool); 7] = [
    ("lb-common/src", false),
    ("lb-ebpf/src", false),
    ("lb-userspace/src", false),
    ("xtask/src", false),
    ("tests/src", true),
    ("tests/tests", true),
    ("tests/examples", true),
];

/// Directories that need not be there.
const OPTIONAL: [&str; 1] = ["tests/tests"];

/// Lines that a file may have; a longer one is about more than one thing.
const MAX_LINES: usize = 600;

/// Lines that a file of tests may have: tables of fixtures are long by nature.
const MAX_TEST_LINES: usize = 1_200;

/// Calls that panic by design or are left over from writing.
const FORBIDDEN_CALLS: [&str; 5] = [".unwrap", ".expect", "todo!", "unimplemented!", "dbg!"];

/// Checks every source file; a line for each rule that is broken.
///
/// # Errors
/// When a file cannot be read or a directory has no sources.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for (directory, are_tests) in SOURCES {
        let mut files = Vec::new();
        rust_files(&root.join(directory), &mut files)?;
        ensure!(!files.is_empty() || OPTIONAL.contains(&directory), "no sources in {directory}");
        for file in files {
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            findings.extend(judge(&shown, &text, are_tests || is_tests(&file))?);
        }
    }
    Ok(findings)
}

/// The Rust files in a directory and below it, sorted; none when there is no such directory.
fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a file, by its name or its directory's, is tests.
fn is_tests(file: &Path) -> bool {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests") || file.parent().is_some_and(|dir| dir.ends_with("tests"))
}

/// The findings in one file.
fn judge(file: &str, text: &str, is_test: bool) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    let limit = if is_test { MAX_TEST_LINES } else { MAX_LINES };
    if lines > limit {
        findings.push(format!("{file}: {lines} lines, more than {limit}: split it"));
    }
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        findings
            .push(format!("{file}:1: begins without //! (its role, what it may import, what always holds)"));
    }
    if !is_test {
        let contents = source::read(text, &[], Gate::Open).with_context(|| format!("in {file}"))?;
        let forbidden = contents
            .calls
            .iter()
            .filter(|call| call.gate != Gate::Test && FORBIDDEN_CALLS.contains(&call.name.as_str()));
        findings.extend(forbidden.map(|call| format!("{file}:{}: {} outside tests", call.line, call.name)));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        judge("x.rs", text, false).unwrap()
    }

    #[test]
    fn a_file_that_keeps_the_rules_has_no_findings() {
        assert_eq!(
            findings("//! Role.\nfn f() { g()?; }\n#[cfg(test)] mod tests { fn t() { a.unwrap() } }"),
            [""; 0]
        );
        assert_eq!(findings("#![no_std]\n//! Role."), [""; 0]);
    }

    #[test]
    fn a_missing_header_is_found() {
        assert_eq!(findings("use std::fs;\n//! late\n").len(), 1);
        assert_eq!(findings("").len(), 1);
    }

    #[test]
    fn panics_by_design_are_found_outside_tests_only() {
        assert_eq!(findings("//! R\nfn f() { a.unwrap() }"), ["x.rs:2: .unwrap outside tests"]);
        assert_eq!(findings("//! R\nfn f() { a.expect(\"b\"); todo!() }").len(), 2);
        assert_eq!(judge("t.rs", "//! R\nfn f() { a.unwrap() }", true).unwrap(), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        let text = format!("//! R\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(findings(&text).len(), 1);
        assert_eq!(judge("t.rs", &text, true).unwrap(), [""; 0]);
    }
}
