//! Files with many problems: all of them are reported at once, in the order of the file.
//!
//! The expected texts are files beside this one. After a wanted change: `UPDATE_GOLDEN=1 cargo test`, then
//! read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use lb_userspace::config::{self, ConfigErrors};

use super::{BASE, parse};

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

fn refused(name: &str) -> ConfigErrors {
    let text = fs::read_to_string(beside(name)).unwrap();
    config::parse(&text, Path::new(name)).unwrap_err()
}

#[track_caller]
fn is_golden(name: &str, found: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(beside(name), found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(beside(name)).unwrap(), "{name}");
}

#[test]
fn every_problem_is_reported_at_once() {
    is_golden("many_errors.lines", &format!("{}\n", refused("many_errors.toml")));
}

#[test]
fn every_problem_is_shown_with_its_line() {
    is_golden("many_errors.rendered", &format!("{}\n", refused("many_errors.toml").render(false)));
}

#[test]
fn syntax_errors_come_together_with_what_they_cannot_have_caused() {
    is_golden("broken.lines", &format!("{}\n", refused("broken.toml")));
}

#[test]
fn color_adds_escape_sequences_and_nothing_else() {
    let errors = refused("many_errors.toml");
    let (plain, colored) = (errors.render(false), errors.render(true));
    assert!(!plain.contains('\u{1b}') && colored.contains('\u{1b}'));
    let mut stripped = String::new();
    for (index, part) in colored.split('\u{1b}').enumerate() {
        stripped.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(stripped, plain);
}

#[test]
fn programs_get_the_same_as_json() {
    let errors = refused("many_errors.toml");
    let json = serde_json::to_value(&errors).unwrap();
    let listed = json["errors"].as_array().unwrap();
    assert_eq!(json["file"], "many_errors.toml");
    assert_eq!(json["omitted"], 0);
    assert_eq!(listed.len(), errors.len());
    assert_eq!(
        listed[0],
        serde_json::json!({
            "line": 3,
            "column": 23,
            "message": "interface `eth0` is listed twice",
            "hint": "leave one of them out",
            "related": [{ "line": 3, "column": 15, "message": "first listed here" }],
        })
    );
}

fn with_unknown_keys(count: usize) -> String {
    let mut lines: Vec<String> = (0..count).map(|n| format!("mystery{n} = 1")).collect();
    lines.push(BASE.to_owned());
    lines.join("\n")
}

#[test]
fn only_so_many_are_shown_and_the_rest_is_counted() {
    let errors = parse(&with_unknown_keys(60)).unwrap_err();
    assert_eq!(errors.len(), 60);
    assert!(errors.to_string().ends_with("\nlb.toml: and 10 more"), "{errors}");
    assert_eq!(errors.to_string().lines().count(), 51);
    assert!(errors.render(false).ends_with("… and 10 more errors"));

    let errors = parse(&with_unknown_keys(1_200)).unwrap_err();
    assert_eq!((errors.len(), errors.entries().count()), (1_200, 1_000));
}

#[test]
fn a_text_that_is_too_large_is_refused_unread() {
    let errors = parse(&"#".repeat(config::bounds::MAX_FILE_BYTES + 1)).unwrap_err();
    let entry = errors.entries().next().unwrap();
    assert_eq!(entry.message, "the text has 16777217 bytes; at most 16777216 are read");
}
