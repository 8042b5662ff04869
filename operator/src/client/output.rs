use bpfman_proto::printable::lines;
use serde::Serialize;

use super::arguments::OutputFormat;
use super::error::ClientError;
use super::structured::{json, yaml};

pub fn write<T: Serialize>(
    format: OutputFormat,
    answer: &T,
    people: impl FnOnce(&T) -> String,
) -> Result<String, ClientError> {
    match format {
        // Messages come from other sources, and must not control the terminal.
        OutputFormat::Table => Ok(lines(&people(answer)).into_owned()),
        OutputFormat::Json => json(answer),
        OutputFormat::Yaml => yaml(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_third_party_text_are_escaped() {
        let people = |words: &&str| format!("MESSAGE\n{words}\n");
        let words = "denied\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
        assert_eq!(
            write(OutputFormat::Table, &words, people).unwrap(),
            "MESSAGE\ndenied\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{202e}\n"
        );
        let json = "\"denied\\u001b]0;owned\\u0007\\u009b2J\\u202e\"\n";
        assert_eq!(write(OutputFormat::Json, &words, people).unwrap(), json);
        assert_eq!(write(OutputFormat::Yaml, &words, people).unwrap(), json);
    }
}
