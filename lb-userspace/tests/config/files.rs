//! Reading and writing files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use lb_userspace::config::{LoadError, load, write_atomically};
use tempfile::TempDir;

use super::BASE;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_file_is_loaded_with_its_text() {
    let directory = directory();
    let path = directory.path().join("lb.toml");
    fs::write(&path, BASE).unwrap();
    let (parsed, text) = load(&path).unwrap();
    assert_eq!(text, BASE);
    assert_eq!(parsed.model.services.len(), 2);
}

#[test]
fn an_invalid_file_is_named_in_its_errors() {
    let directory = directory();
    let path = directory.path().join("lb.toml");
    fs::write(&path, "x = 1\n[node]\ninterfaces = [\"eth0\"]\n").unwrap();
    let Err(LoadError::Invalid(errors)) = load(&path) else { panic!("must be invalid") };
    assert_eq!(errors.origin(), path);
    assert!(errors.to_string().starts_with(&format!("{}:1:1: ", path.display())), "{errors}");
}

#[test]
fn what_cannot_be_read_says_why_and_what_to_do() {
    let directory = directory();
    let missing = directory.path().join("missing.toml");
    let shown = load(&missing).unwrap_err().to_string();
    assert!(shown.contains("missing.toml") && shown.contains("check the path"), "{shown}");
    assert!(matches!(load(directory.path()), Err(LoadError::NotAFile { .. })));

    let binary = directory.path().join("binary.toml");
    fs::write(&binary, b"ab\xff").unwrap();
    assert!(matches!(load(&binary), Err(LoadError::NotUtf8 { offset: 2, .. })));

    let large = directory.path().join("large.toml");
    fs::File::create(&large).unwrap().set_len(16 * 1024 * 1024 + 1).unwrap();
    assert!(matches!(load(&large), Err(LoadError::TooLarge { .. })));
}

#[test]
fn a_new_file_is_made_and_an_old_one_keeps_its_mode_and_owner() {
    let directory = directory();
    let path = directory.path().join("lb.toml");
    write_atomically(&path, "one").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away; anyone else checks the mode alone.
    let is_given_away = std::os::unix::fs::chown(&path, Some(12), Some(34)).is_ok();
    write_atomically(&path, "two").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    if is_given_away {
        assert_eq!((metadata.uid(), metadata.gid()), (12, 34));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
}

#[test]
fn a_symlink_stays_and_its_target_is_written() {
    let directory = directory();
    let (target, link) = (directory.path().join("real.toml"), directory.path().join("lb.toml"));
    fs::write(&target, "one").unwrap();
    symlink("real.toml", &link).unwrap();
    write_atomically(&link, "two").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "two");
}

#[test]
fn what_cannot_be_written_leaves_the_old_text() {
    let directory = directory();
    let link = directory.path().join("dangling.toml");
    symlink("nowhere/lb.toml", &link).unwrap();
    let shown = write_atomically(&link, "text").unwrap_err().to_string();
    assert!(shown.contains("dangling.toml") && shown.contains("mend the symlink"), "{shown}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

    let shown = write_atomically(&directory.path().join("no/lb.toml"), "text").unwrap_err().to_string();
    assert!(shown.contains("make the directory"), "{shown}");

    let shown = write_atomically(directory.path(), "text").unwrap_err().to_string();
    assert!(shown.contains("not a regular file"), "{shown}");
}
