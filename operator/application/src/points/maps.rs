//! Attach points in maps of the programs' own object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pattern of map names.
pub const MAP_NAME: &str = "^[a-zA-Z0-9_.]+$";

/// A sockmap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SockmapLink {
    /// Its name in the object.
    #[schemars(length(min = 1, max = 64), regex(pattern = MAP_NAME))]
    pub map: String,
}

/// A struct_ops map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StructOpsLink {
    /// Its name in the object.
    #[schemars(length(min = 1, max = 64), regex(pattern = MAP_NAME))]
    pub map: String,
}
