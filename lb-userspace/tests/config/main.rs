//! The configuration as its users see it: what is refused and how, what is understood, what edits leave alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod checks;
mod edits;
mod errors;
mod examples;
mod files;
mod frontends;
mod guards;
mod kinds;
mod many_errors;
mod policies;
mod properties;
mod understood;

use std::path::Path;

use lb_userspace::config::{self, ConfigErrors, Parsed};

/// A configuration that is right, for tests to break.
const BASE: &str = r#"# base
[node]
interfaces = ["eth0"]
vips = "assign"

[checks.web]
kind = "http"
path = "/health"
interval = "1s"
timeout = "500ms"

[checks.db]
kind = "tcp"

[pools.web]
mode = "nat"
check = "web"
slots = 65537
backends = [
    { name = "web1", address = "10.0.0.11:80", weight = 100 },
    { name = "web2", address = "10.0.0.12:80" },
]

[pools.db]
mode = "dsr-l2"
check = "db"
backends = [
    { name = "db1", address = "10.0.1.11" },
    { name = "db2", address = "10.0.1.12" },
]

[services.web]
vips = ["203.0.113.10"]
ports = [80]
protocol = "tcp"
pool = "web"

[services.db]
vips = ["203.0.113.20"]
ports = [3306]
protocol = "tcp"
pool = "db"
"#;

fn parse(text: &str) -> Result<Parsed, ConfigErrors> {
    config::parse(text, Path::new("lb.toml"))
}

/// `BASE` with one part of it replaced; the part must be there exactly once.
fn base_with(part: &str, replacement: &str) -> String {
    assert_eq!(BASE.matches(part).count(), 1, "{part:?} must be in BASE once");
    BASE.replacen(part, replacement, 1)
}
