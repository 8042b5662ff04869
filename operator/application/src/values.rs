//! What an application sets of its object: global variables by their type, and sizes of maps. An addition to the published
//! API, which has bytes alone ([`crate::global_data`]).

use std::collections::BTreeMap;

/// Global variables by name, each as text of its type.
pub type GlobalTexts = BTreeMap<String, String>;

/// Entries of maps by name.
pub type EntriesByMap = BTreeMap<String, u32>;

/// The most variables, and the most maps.
pub const MOST_NAMES: usize = 128;
/// The most characters of one value.
pub const LONGEST_TEXT: usize = 8192;
/// The most characters of one name.
pub const LONGEST_NAME: usize = 256;
/// The most entries of a map: what the kernel can count.
pub const MOST_ENTRIES: u32 = u32::MAX;

/// A map of names to texts.
pub fn texts_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MOST_NAMES,
        "additionalProperties": { "type": "string", "maxLength": LONGEST_TEXT }
    })
}

/// A map of names to numbers of entries.
pub fn entries_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": MOST_NAMES,
        "additionalProperties": { "type": "integer", "format": "int64", "minimum": 1, "maximum": MOST_ENTRIES }
    })
}
