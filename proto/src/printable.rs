//! Text that others chose, made fit for a log, a message or a terminal.
//!
//! Names of images, interfaces, programs and files may hold line ends and escape sequences: written as they are they
//! would forge lines of a log, or command the terminal of who reads it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// The text in one line: everything that is no visible character is escaped, line ends and tabs too.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same for text of several lines: line ends and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// A JSON document with the same meaning, which commands no terminal: JSON may hold everything in a text but the lowest
/// control characters. Line ends and tabs stay: outside of texts they lay it out, and inside they are escaped already.
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

/// True for a text of several lines in which [`lines`] and [`json`] would change nothing.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    matches!(json(text), Cow::Borrowed(_))
}

/// A word as a shell takes it, of whatever others chose: it stays one word, and breaks no line or terminal.
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

/// Control characters, other ends of lines and paragraphs, and what turns the direction of the text around it.
fn hides(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writes each piece that it is given as one line. A log gives it event by event.
#[derive(Debug)]
pub struct OneLineEach<W>(pub W);

impl<W: io::Write> io::Write for OneLineEach<W> {
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
