//! Points in time as RFC 3339 in UTC.

use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

/// Shown for a time that has no such form (after the year 9999).
const NO_FORM: &str = "?";

/// `2026-11-22T10:00:00Z`, from seconds since 1970-01-01 UTC.
pub(super) fn seconds(unix_seconds: u64) -> String {
    after_epoch(Duration::from_secs(unix_seconds), humantime::format_rfc3339_seconds)
}

/// `2026-11-22T10:00:00.250Z`, from milliseconds since 1970-01-01 UTC.
pub(super) fn milliseconds(unix_time_ms: u64) -> String {
    after_epoch(Duration::from_millis(unix_time_ms), humantime::format_rfc3339_millis)
}

fn after_epoch<T: Display>(since_epoch: Duration, format: impl FnOnce(SystemTime) -> T) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
    time.and_then(|time| written(&format(time)).ok()).unwrap_or_else(|| NO_FORM.to_owned())
}

/// `to_string` would panic where humantime returns an error.
fn written(value: &impl Display) -> Result<String, fmt::Error> {
    let mut text = String::new();
    write!(text, "{value}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(seconds(1_795_341_600), "2026-11-22T10:00:00Z");
        assert_eq!(milliseconds(1_795_341_600_250), "2026-11-22T10:00:00.250Z");
    }

    #[test]
    fn a_time_beyond_every_calendar_is_a_question_mark() {
        assert_eq!([seconds(1 << 50), seconds(u64::MAX), milliseconds(u64::MAX)], ["?", "?", "?"]);
    }
}
