//! Frames as people read them. Imports nothing.

/// Bytes in hexadecimal, with a space between them.
pub fn hex(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(" ")
}
