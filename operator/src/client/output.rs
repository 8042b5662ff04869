//! The same answer for people and for programs.

use bpfman_proto::printable::lines;
use serde::Serialize;

use super::arguments::OutputFormat;
use super::error::ClientError;

/// Writes an answer; `people` makes the text for them.
pub fn write<T: Serialize>(
    format: OutputFormat,
    answer: &T,
    people: impl FnOnce(&T) -> String,
) -> Result<String, ClientError> {
    match format {
        // Messages in it are others' words, and are not to command a terminal.
        OutputFormat::Table => Ok(lines(&people(answer)).into_owned()),
        OutputFormat::Json => serde_json::to_string_pretty(answer)
            .map(|text| text + "\n")
            .map_err(|error| ClientError::Output(error.to_string())),
        OutputFormat::Yaml => {
            serde_norway::to_string(answer).map_err(|error| ClientError::Output(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_command_no_terminal() {
        let people = |words: &&str| format!("MESSAGE\n{words}\n");
        let words = "denied\u{1b}]0;owned\u{7}";
        assert_eq!(
            write(OutputFormat::Table, &words, people).unwrap(),
            "MESSAGE\ndenied\\u{1b}]0;owned\\u{7}\n"
        );
        assert_eq!(write(OutputFormat::Json, &words, people).unwrap(), "\"denied\\u001b]0;owned\\u0007\"\n");
    }
}
