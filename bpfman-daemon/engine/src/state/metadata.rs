//! The user's pairs of programs and links.

use std::collections::BTreeMap;

/// The metadata key of an application changed its name between versions of v0.6.0's line: both are read.
pub const APPLICATION_KEYS: [&str; 2] = ["bpfman_application", "bpfman.io/application"];

/// True if the metadata has the pair.
pub fn has_pair(metadata: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    let keys: &[&str] = if APPLICATION_KEYS.contains(&key) { &APPLICATION_KEYS } else { &[key] };
    keys.iter().any(|key| metadata.get(*key).is_some_and(|found| found == value))
}

/// A link belongs to the application of its program, unless it names one itself.
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

/// Bytes of names and values.
pub fn metadata_size(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}
