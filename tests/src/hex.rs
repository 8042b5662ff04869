//! Hexadecimal text.

/// Returns two digits for each byte, as Python's `bytes.fromhex` reads them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
