//! Every example that the project ships is a valid configuration.

use std::fs;
use std::path::Path;

use lb_userspace::config;

#[test]
fn every_example_is_valid_and_without_warnings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let (parsed, _) = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        assert!(!parsed.model.serves_nothing(), "{} serves nothing", path.display());
        seen += 1;
    }
    assert!(seen > 0, "no examples found");
}
