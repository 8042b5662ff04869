//! User metadata of programs and links.

use std::collections::BTreeMap;

use crate::EngineError;

/// Metadata keys of an application's name. The key changed between versions of the v0.6.0 line; both are read.
pub const APPLICATION_KEYS: [&str; 2] = ["bpfman_application", "bpfman.io/application"];

pub fn has_pair(metadata: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    let keys: &[&str] = if APPLICATION_KEYS.contains(&key) { &APPLICATION_KEYS } else { &[key] };
    keys.iter().any(|key| metadata.get(*key).is_some_and(|found| found == value))
}

pub fn with_application(
    link: &BTreeMap<String, String>,
    program: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut metadata = link.clone();
    for key in crate::state::APPLICATION_KEYS {
        if let (Some(application), false) = (program.get(key), metadata.contains_key(key)) {
            metadata.insert(key.to_owned(), application.clone());
        }
    }
    metadata
}

/// Maximum size of the metadata of one load or link, in bytes, so that a record can hold them.
const MAX_METADATA: usize = 16 << 10;

pub fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let size = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    ensure_fits("the metadata", size, MAX_METADATA)
}

pub fn ensure_fits(what: &str, size: usize, limit: usize) -> Result<(), EngineError> {
    if size <= limit {
        return Ok(());
    }
    Err(EngineError::TooLarge { what: what.to_owned(), size: size as u64, limit: limit as u64 })
}
