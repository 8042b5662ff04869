//! Keys and certificates as PEM text.

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// Encodes `der` in PEM, with 64 characters a line.
#[must_use]
pub fn write(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Returns label and bytes of the first PEM block of a text; none if there is no complete block.
///
/// OpenSSL writes an `EC PARAMETERS` block before a key; it is skipped.
#[must_use]
pub fn read(text: &str) -> Option<(&str, Vec<u8>)> {
    blocks(text).find(|(label, _)| *label != "EC PARAMETERS")
}

/// Returns label and bytes of each complete block. A block that is not base64 has no bytes.
pub fn blocks(text: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, tail) = rest.split_once("-----BEGIN ")?;
        let (label, tail) = tail.split_once("-----")?;
        let (body, tail) = tail.split_once(&format!("-----END {label}-----"))?;
        rest = tail;
        // Text with headers (`Proc-Type: …`) is not base64: the block is encrypted, and callers detect that.
        let packed: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        Some((label, BASE64_STANDARD.decode(packed).unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_reads_back_what_it_writes() {
        for length in [0, 1, 47, 48, 49, 200] {
            let der: Vec<u8> = (0..=255).cycle().take(length).collect();
            let text = write("PUBLIC KEY", &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(read(&text), Some(("PUBLIC KEY", der)));
        }
        assert_eq!(read("no key"), None);
        assert_eq!(read("-----BEGIN PUBLIC KEY-----\nAAAA"), None);
    }
}
