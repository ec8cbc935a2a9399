//! What is read out of Rust's tokens.

use super::*;

fn contents(text: &str) -> Contents {
    read(text, &["health".to_owned(), "probe".to_owned()], Gate::Open).unwrap()
}

fn paths(text: &str) -> Vec<String> {
    contents(text).paths.iter().map(|path| path.segments.join("::")).collect()
}

#[test]
fn groups_of_a_use_are_written_out() {
    let found = paths("use crate::{model::{Pool, Check as C}, config, api::*};");
    assert_eq!(found, ["crate::model::Pool", "crate::model::Check", "crate::config", "crate::api"]);
}

#[test]
fn a_path_in_an_expression_and_in_a_macro_is_found() {
    let found = paths("fn f() -> u8 { info!(x = crate::config::LIMIT); aya::programs::load(1) }");
    assert_eq!(found, ["crate::config::LIMIT", "aya::programs::load"]);
}

#[test]
fn a_word_in_the_middle_of_a_path_begins_no_path() {
    assert_eq!(paths("use crate::dataplane::{aya::Kernel};"), ["crate::dataplane::aya::Kernel"]);
}

#[test]
fn comments_and_strings_are_no_code() {
    assert_eq!(paths("// use aya::Ebpf;\n/* aya::x */ const A: &str = \"aya::y\";"), Vec::<String>::new());
}

#[test]
fn super_is_resolved_within_its_module() {
    assert_eq!(paths("use super::super::config::X;"), ["crate::config::X"]);
    assert_eq!(paths("mod inner { use super::Y; }"), ["crate::health::probe::Y"]);
    assert_eq!(paths("use self::state::Z;"), ["crate::health::probe::state::Z"]);
}

#[test]
fn an_imported_crate_without_a_path_is_found() {
    assert_eq!(paths("use aya;"), ["aya"]);
    assert_eq!(paths("let aya = 1;"), Vec::<String>::new());
}

#[test]
fn gates_cover_their_item_and_no_more() {
    let text = "#[cfg(test)] mod tests { use std::a; }\n\
                #[cfg(feature = \"host\")] use std::b;\n\
                #[cfg(any(test, feature = \"host\"))] fn f() { std::c(); }\n\
                #[cfg(not(feature = \"host\"))] use std::d;\n\
                #[inline] fn g() { std::e(); }\n\
                #[test] fn h() { std::f(); }";
    let gates: Vec<(String, Gate)> =
        contents(text).paths.into_iter().map(|path| (path.segments.join("::"), path.gate)).collect();
    let expected = [
        ("std::a", Gate::Test),
        ("std::b", Gate::Host),
        ("std::c", Gate::Host),
        ("std::d", Gate::Open),
        ("std::e", Gate::Open),
        ("std::f", Gate::Test),
    ];
    assert_eq!(gates, expected.map(|(path, gate)| (path.to_owned(), gate)));
}

#[test]
fn an_inner_gate_covers_the_file() {
    let found = contents("#![cfg(feature = \"host\")]\nuse std::a;");
    assert_eq!(found.paths[0].gate, Gate::Host);
}

#[test]
fn lines_count_from_one() {
    assert_eq!(contents("\n\nuse crate::model;").paths[0].line, 3);
}

#[test]
fn methods_and_macros_are_calls_and_fields_are_not() {
    let calls: Vec<String> = contents("fn f() { a.unwrap(); b.expect; std::todo!(); x.y.expect(\"z\") }")
        .calls
        .into_iter()
        .map(|call| call.name)
        .collect();
    assert_eq!(calls, [".unwrap", "todo!", ".expect"]);
}

#[test]
fn a_crate_is_read_along_its_modules_and_their_gates() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("lib.rs", "pub mod a;\n#[cfg(feature = \"host\")] pub mod b;\nmod inline { mod c; }");
    write("a/mod.rs", "mod deep;");
    write("a/deep.rs", "use super::X;");
    write("b.rs", "use std::x;");
    write("inline/c.rs", "");
    write("stray.rs", "use std::x;");
    let modules = read_crate(&dir.path().join("lib.rs")).unwrap();
    let found: Vec<String> = modules.iter().map(|module| module.path.join("::")).collect();
    assert_eq!(found, ["a::deep", "a", "b", "inline::c", ""]);
    assert_eq!(modules[2].contents.paths[0].gate, Gate::Host);
    assert_eq!(modules[0].contents.paths[0].segments, ["crate", "a", "X"]);
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lib.rs"), "mod gone;").unwrap();
    let error = read_crate(&dir.path().join("lib.rs")).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}
