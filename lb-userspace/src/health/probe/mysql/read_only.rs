//! Whether a server may be written to.

use super::query::Row;

/// Asks MySQL (since 5.7.8).
pub(super) const BOTH: &str = "SELECT @@global.read_only, @@global.super_read_only";

/// Asks a server that has one variable only: MariaDB and old MySQL.
pub(super) const ONE: &str = "SELECT @@global.read_only";

/// Whether no variable of the row is on; none without any.
pub(super) fn is_writable(row: &Row) -> Option<bool> {
    if row.0.is_empty() {
        return None;
    }
    row.0.iter().map(|(_, value)| value.as_deref().map(is_off)).try_fold(true, |all, off| Some(all & off?))
}

/// A flag, or (MariaDB 12) a word: OFF, and others that say how strict it is.
fn is_off(value: &str) -> bool {
    value == "0" || value.eq_ignore_ascii_case("off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writable(values: &[Option<&str>]) -> Option<bool> {
        is_writable(&Row(values.iter().map(|value| (String::new(), value.map(str::to_owned))).collect()))
    }

    #[test]
    fn every_flag_must_be_off() {
        for (values, expected) in [
            (&[Some("0"), Some("0")][..], Some(true)),
            (&[Some("1"), Some("0")], Some(false)),
            (&[Some("0"), Some("1")], Some(false)),
            (&[Some("1"), Some("1")], Some(false)),
            (&[Some("0")], Some(true)),
            (&[Some("1")], Some(false)),
            (&[Some("OFF")], Some(true)),
            (&[Some("ON")], Some(false)),
            (&[Some("NO_LOCK")], Some(false)),
            (&[Some("NO_LOCK_NO_ADMIN")], Some(false)),
            (&[Some("0"), None], None),
            (&[], None),
        ] {
            assert_eq!(writable(values), expected, "{values:?}");
        }
    }
}
