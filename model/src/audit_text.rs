//! Texts of clients in the audit log.

/// Maximum size of one text in a line, in bytes.
const MAX_TEXT: usize = 1024;

/// Returns a text for one field of a line: cut after 1,024 bytes, at a character boundary.
#[must_use]
pub fn audit_text(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)])
}
