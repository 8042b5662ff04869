//! JSON and YAML that is safe on terminals: names of third parties may contain control and bidirectional characters.

use std::fmt::Display;

use bpfman_proto::printable;
use serde::Serialize;

use super::error::ClientError;

pub fn json(answer: &impl Serialize) -> Result<String, ClientError> {
    serde_json::to_string_pretty(answer).map(|text| harmless(&text)).map_err(unwritable)
}

pub fn json_line(answer: &impl Serialize) -> Result<String, ClientError> {
    serde_json::to_string(answer).map(|text| harmless(&text)).map_err(unwritable)
}

/// Returns YAML; JSON, which is valid YAML, if a character must be escaped: some YAML styles cannot.
pub fn yaml(answer: &impl Serialize) -> Result<String, ClientError> {
    let text = serde_norway::to_string(answer).map_err(unwritable)?;
    if printable::is_plain(&text) { Ok(text) } else { json(answer) }
}

fn harmless(json: &str) -> String {
    printable::json(json).into_owned() + "\n"
}

fn unwritable(error: impl Display) -> ClientError {
    ClientError::Output(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const STRANGE: &str = "a\u{1b}[2J\u{7f}\u{85}\u{9b}2J\u{202e}b\u{2066}\u{200f}\u{2028}\n\"c\\";

    #[test]
    fn json_has_no_hidden_characters_and_reads_back_equal() {
        let line = json_line(&STRANGE).unwrap();
        let seen = r#""a\u001b[2J\u007f\u0085\u009b2J\u202eb\u2066\u200f\u2028\n\"c\\""#;
        assert_eq!(line, format!("{seen}\n"));
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), STRANGE);
        let lines = json(&[STRANGE, "Grüße, 世界 🦀"]).unwrap();
        assert_eq!(lines, format!("[\n  {seen},\n  \"Grüße, 世界 🦀\"\n]\n"));
    }

    #[test]
    fn yaml_is_json_where_it_would_hide_something() {
        assert_eq!(yaml(&["one", "two"]).unwrap(), "- one\n- two\n");
        for text in [STRANGE, "a\u{202e}b", "a\u{9b}2J", "a\tb\nc\n"] {
            let shown = yaml(&[text]).unwrap();
            assert!(printable::is_plain(&shown), "{shown:?}");
            assert_eq!(serde_norway::from_str::<Vec<String>>(&shown).unwrap(), [text]);
        }
    }
}
