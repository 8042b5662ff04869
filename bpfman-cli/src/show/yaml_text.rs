//! YAML text that is safe for a terminal: if escapes are needed, it is JSON, which is also YAML.

use std::collections::BTreeMap;

use bpfman_proto::printable;
use serde::Serialize;

use super::json_text;
use crate::error::CliError;

pub fn document(value: &impl Serialize) -> Result<String, CliError> {
    written(value, || json_text::document(value))
}

/// Encodes a value as a field of a document, with its end.
pub fn field(name: &str, value: &impl Serialize) -> Result<String, CliError> {
    written(&BTreeMap::from([(name, value)]), || Ok(format!("{name}: {}\n", json_text::line(value)?)))
}

/// Encodes a value as an element of a list, with its end.
pub fn item(value: &impl Serialize) -> Result<String, CliError> {
    written(&[value], || Ok(format!("- {}\n", json_text::line(value)?)))
}

fn written(
    value: &impl Serialize,
    as_json: impl FnOnce() -> Result<String, CliError>,
) -> Result<String, CliError> {
    let text = serde_norway::to_string(value).map_err(|error| CliError::Encode(error.to_string()))?;
    if printable::is_plain(&text) { Ok(text) } else { as_json() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control sequences, and characters that change the direction of text.
    const STRANGE: &str = "a\u{1b}[2J\u{9b}2J\u{202e}b\u{2066}\u{2028}\n\"c";

    #[test]
    fn hidden_characters_are_escaped_and_read_back() {
        let both = [STRANGE, "Grüße: 世界"];
        for text in [document(&both).unwrap(), both.iter().map(|one| item(one).unwrap()).collect()] {
            assert!(printable::is_plain(&text), "{text:?}");
            assert_eq!(serde_norway::from_str::<Vec<String>>(&text).unwrap(), both);
        }
        for name in both {
            let text = field("name", &name).unwrap();
            assert!(printable::is_plain(&text), "{text:?}");
            assert_eq!(serde_norway::from_str::<BTreeMap<String, String>>(&text).unwrap()["name"], name);
        }
        assert_eq!(field("name", &"web").unwrap(), "name: web\n");
        assert_eq!(item(&7).unwrap(), "- 7\n");
    }
}
