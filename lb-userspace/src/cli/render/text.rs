//! Text from outside, made safe for a terminal.

use std::borrow::Cow;

/// The text with its control characters written out (`\u{1b}`, `\n`): a reason may hold what a backend sent, and a
/// terminal would obey it.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let write_out = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(write_out).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out_and_all_else_is_kept() {
        assert_eq!(plain("größe 10 µs"), "größe 10 µs");
        assert_eq!(plain("a\u{1b}[31m\r\n\t\u{9b}0m\u{7f}"), "a\\u{1b}[31m\\r\\n\\t\\u{9b}0m\\u{7f}");
    }
}
