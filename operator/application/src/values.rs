//! Global variables by type, and map sizes: additions to the published API's bytes ([`crate::global_data`]).

use std::collections::BTreeMap;

/// Global variables by name, each as text of its type.
pub type GlobalTexts = BTreeMap<String, String>;

/// Number of entries of maps by name.
pub type EntriesByMap = BTreeMap<String, u32>;

/// Maximum number of variables, and of maps.
pub const MAX_NAMES: usize = 128;
/// Maximum length of one value, in characters.
pub const MAX_TEXT: usize = 8192;
/// Maximum length of one name, in characters.
pub const MAX_NAME: usize = 256;
/// Maximum number of entries of a map: the kernel's `max_entries` has 32 bits.
pub const MAX_ENTRIES: u32 = u32::MAX;

/// Returns the schema of a map of names to texts.
pub fn texts_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MAX_NAMES,
        "additionalProperties": { "type": "string", "maxLength": MAX_TEXT }
    })
}

/// Returns the schema of a map of names to numbers of entries.
pub fn entries_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MAX_NAMES,
        "additionalProperties": { "type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ENTRIES }
    })
}
