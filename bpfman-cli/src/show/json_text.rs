//! JSON text that is safe for a terminal: it may contain third-party names.

use bpfman_proto::printable;
use serde::Serialize;

use crate::error::CliError;

/// Encodes a value as one line, without its end.
pub fn line(value: &impl Serialize) -> Result<String, CliError> {
    harmless(serde_json::to_string(value))
}

pub fn document(value: &impl Serialize) -> Result<String, CliError> {
    Ok(harmless(serde_json::to_string_pretty(value))? + "\n")
}

fn harmless(encoded: serde_json::Result<String>) -> Result<String, CliError> {
    let text = encoded.map_err(|error| CliError::Encode(error.to_string()))?;
    Ok(printable::json(&text).into_owned())
}
