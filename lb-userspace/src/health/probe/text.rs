//! What a target says, as part of a sentence.

/// The first line of `bytes`, cut at `max_bytes`, without spaces at its ends; control characters are written out, for it
/// ends up in logs and on terminals.
pub(super) fn first_line(bytes: &[u8], max_bytes: usize) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let line = &line[..line.len().min(max_bytes)];
    let text = String::from_utf8_lossy(line);
    let write_out = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.trim().chars().map(write_out).collect()
}

#[cfg(test)]
mod tests {
    use super::first_line;

    #[test]
    fn a_line_is_cut_and_harmless() {
        assert_eq!(first_line(b"  disk full \nmore", 256), "disk full");
        assert_eq!(first_line(b"one\rtwo", 256), "one");
        assert_eq!(first_line(b"abcdef", 3), "abc");
        assert_eq!(first_line(b"\x1b[2J\xff", 256), "\\u{1b}[2J\u{fffd}");
        assert_eq!(first_line(b"\nlater", 256), "");
    }
}
