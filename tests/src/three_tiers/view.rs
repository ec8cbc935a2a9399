//! The live view: who serves in each tier, and how the clients fare.
//!
//! Role: text; whoever shows it decides where and how often. Always holds: lines are no longer than a terminal's.

use std::fmt::Write as _;

use super::agent::{Backend, Health};
use super::load::{Kind, Request};

/// Characters of a line, at most.
const MAX_WIDTH: usize = 79;

/// One drawing.
pub fn view(backends: &[Backend], requests: &[Request], elapsed_s: u64) -> String {
    let mut text =
        format!("{:<18} {:<8} {:>7} {:>12}  {}\n", "BACKEND", "HEALTH", "SHARE", "CONNECTIONS", "SAYS");
    for backend in backends {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<18} {:<8} {:>5.1} % {:>12}  {}",
            format!("{}/{}", backend.pool, backend.name),
            backend.health.state,
            backend.slot_share_percent,
            backend.new_connections,
            says(&backend.health),
        );
    }
    let _ = write!(text, "{elapsed_s} s");
    for kind in Kind::ALL {
        let of_kind = requests.iter().filter(|request| request.kind == kind);
        let failed = of_kind.clone().filter(|request| request.outcome.is_err()).count();
        let _ = write!(text, ", {}s: {} ({failed} failed)", kind.name(), of_kind.count());
    }
    text.push('\n');
    let last_error = requests.iter().rev().find_map(|request| request.outcome.as_ref().err());
    if let Some(error) = last_error {
        let _ = writeln!(text, "last failure: {}", error.replace(char::is_control, " "));
    }
    text.lines().map(|line| line.chars().take(MAX_WIDTH).chain(['\n']).collect::<String>()).collect()
}

/// Why it is down, or what it said when it was well.
fn says(health: &Health) -> &str {
    health.reason.as_deref().or(health.detail.as_deref()).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn who_serves_and_who_fails_is_seen_and_no_line_is_too_long() {
        let backend = Backend {
            pool: "db-primary".to_owned(),
            name: "db2".to_owned(),
            health: Health { state: "down".to_owned(), reason: Some("x".repeat(200)), detail: None },
            slot_share_percent: 0.0,
            new_connections: 17,
        };
        let failed = Request {
            kind: Kind::Write,
            started: SystemTime::UNIX_EPOCH,
            ended: SystemTime::UNIX_EPOCH,
            outcome: Err("connecting\nfailed".to_owned()),
        };
        let text = view(&[backend], &[failed], 12);
        assert!(text.lines().all(|line| line.chars().count() <= MAX_WIDTH), "{text}");
        assert!(text.contains("db-primary/db2     down       0.0 %           17  xxx"), "{text}");
        assert!(
            text.contains("12 s, pages: 0 (0 failed), reads: 0 (0 failed), writes: 1 (1 failed)"),
            "{text}"
        );
        assert!(text.contains("last failure: connecting failed"), "{text}");
    }
}
