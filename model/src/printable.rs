//! Escaping of third-party text, which could otherwise forge lines of a log, or control a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// Returns the text as one line: all invisible characters are escaped, including line ends and tabs.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Returns text of several lines with all invisible characters escaped except line ends and tabs.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// Returns an equivalent JSON document that is safe for a terminal. Line ends and tabs are layout, and stay.
#[must_use]
pub fn json(document: &str) -> Cow<'_, str> {
    let is_hidden = |character: char| hides(character) && !matches!(character, '\n' | '\t');
    if !document.contains(is_hidden) {
        return Cow::Borrowed(document);
    }
    let mut shown = String::with_capacity(document.len() + 16);
    for character in document.chars() {
        if is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Returns whether [`lines`] and [`json`] would leave a text of several lines unchanged.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    matches!(json(text), Cow::Borrowed(_))
}

/// Quotes third-party text as one word for a shell, without line ends or control characters.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let text: String = text.chars().map(|character| if hides(character) { '?' } else { character }).collect();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_./:=,@%+-".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_hidden = |character: char| hides(character) && !stays(character);
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            // Writing to a string does not fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn hides(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writer that escapes each piece it receives to one line. A log writes one event at a time.
#[derive(Debug)]
pub struct LineEscaper<W>(pub W);

impl<W: io::Write> io::Write for LineEscaper<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(piece.strip_suffix(b"\n").unwrap_or(piece));
        let mut line = one_line(&text).into_owned();
        if piece.ends_with(b"\n") {
            line.push('\n');
        }
        self.0.write_all(line.as_bytes())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
