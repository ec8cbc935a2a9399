//! Reading and writing numbers in frames, wherever they are; what is not there reads as none and is not written.
//!
//! Imports nothing of ours.

/// The `N` bytes at `at`.
pub fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The byte at `at`.
pub fn byte(frame: &[u8], at: usize) -> Option<u8> {
    frame.get(at).copied()
}

/// The 16-bit number at `at`, most significant byte first.
pub fn half(frame: &[u8], at: usize) -> Option<u16> {
    array(frame, at).map(u16::from_be_bytes)
}

/// Writes bytes at `at`; as many as there is room for.
pub fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    let room = frame.get_mut(at..).unwrap_or_default();
    room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// Writes a 16-bit number at `at`.
pub fn put_half(frame: &mut [u8], at: usize, value: u16) {
    put(frame, at, &value.to_be_bytes());
}

/// Puts bytes in between, at `at` or, in a shorter frame, at its end.
pub fn insert(frame: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(frame.len());
    frame.splice(at..at, bytes.iter().copied());
}

/// The number as the 16 bits of a length field; the most they hold if it is larger.
pub fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 0xf)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes that hexadecimal digits name.
pub fn of_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(of_hex(&hex(&bytes)), Some(bytes));
        assert_eq!(of_hex("0"), None);
        assert_eq!(of_hex("zz"), None);
    }

    #[test]
    fn what_is_outside_is_left_alone() {
        let mut frame = vec![1, 2, 3];
        put(&mut frame, 2, &[9, 9]);
        put(&mut frame, 7, &[9]);
        assert_eq!(frame, [1, 2, 9]);
        assert_eq!((half(&frame, 1), half(&frame, 2)), (Some(0x0209), None));
    }
}
