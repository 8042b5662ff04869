//! Answers as JSON that a terminal can show: names in it are others'.

use bpfman_proto::printable;
use serde::Serialize;

use crate::error::CliError;

/// A value in one line, without the end of it.
///
/// # Errors
/// It cannot be written as JSON.
pub fn line(value: &impl Serialize) -> Result<String, CliError> {
    harmless(serde_json::to_string(value))
}

/// A value in many lines.
///
/// # Errors
/// It cannot be written as JSON.
pub fn document(value: &impl Serialize) -> Result<String, CliError> {
    Ok(harmless(serde_json::to_string_pretty(value))? + "\n")
}

fn harmless(encoded: serde_json::Result<String>) -> Result<String, CliError> {
    let text = encoded.map_err(|error| CliError::Encode(error.to_string()))?;
    Ok(printable::json(&text).into_owned())
}
