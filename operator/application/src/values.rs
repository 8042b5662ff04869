//! Global variables by type, and map sizes, that an application sets in its object. An addition to the published API,
//! which has bytes only ([`crate::global_data`]).

use std::collections::BTreeMap;

/// Global variables by name, each as text of its type.
pub type GlobalTexts = BTreeMap<String, String>;

/// Number of entries of maps by name.
pub type EntriesByMap = BTreeMap<String, u32>;

/// Maximum number of variables, and of maps.
pub const MOST_NAMES: usize = 128;
/// Maximum length of one value, in characters.
pub const LONGEST_TEXT: usize = 8192;
/// Maximum length of one name, in characters.
pub const LONGEST_NAME: usize = 256;
/// Maximum number of entries of a map: the kernel's `max_entries` has 32 bits.
pub const MOST_ENTRIES: u32 = u32::MAX;

/// Returns the schema of a map of names to texts.
pub fn texts_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MOST_NAMES,
        "additionalProperties": { "type": "string", "maxLength": LONGEST_TEXT }
    })
}

/// Returns the schema of a map of names to numbers of entries.
pub fn entries_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MOST_NAMES,
        "additionalProperties": { "type": "integer", "format": "int64", "minimum": 1, "maximum": MOST_ENTRIES }
    })
}
