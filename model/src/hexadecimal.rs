//! Hexadecimal text of bytes.

use std::fmt::Write as _;

/// Returns two lower-case digits per byte.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the bytes of pairs of digits; `None` for any other text.
#[must_use]
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hexadecimal(&[0, 0x0a, 0xff]), "000aff");
        assert_eq!(hexadecimal(&[]), "");
        assert_eq!(from_hexadecimal("000aFf"), Some(vec![0, 0x0a, 0xff]));
        for bad in ["0", "0g", "+1", "é0", "0x00"] {
            assert_eq!(from_hexadecimal(bad), None, "{bad}");
        }
    }
}
