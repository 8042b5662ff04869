//! The same answer for people and for programs.

use serde::Serialize;

use super::arguments::Format;
use super::error::ClientError;

/// Writes an answer; `people` makes the text for them.
pub fn write<T: Serialize>(
    format: Format,
    answer: &T,
    people: impl FnOnce(&T) -> String,
) -> Result<String, ClientError> {
    match format {
        Format::Table => Ok(people(answer)),
        Format::Json => serde_json::to_string_pretty(answer)
            .map(|text| text + "\n")
            .map_err(|error| ClientError::Output(error.to_string())),
        Format::Yaml => {
            serde_norway::to_string(answer).map_err(|error| ClientError::Output(error.to_string()))
        }
    }
}
