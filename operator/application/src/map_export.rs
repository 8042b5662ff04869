//! What an application gives of its maps to pods: by volumes of the CSI driver. An addition to the published API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maps of the programs, or all: letters, digits, `_` and `.`.
pub const MAP: &str = r"^(\*|[a-zA-Z0-9_.]+)$";

/// Names of namespaces (RFC 1123 labels), or all.
pub const NAMESPACE: &str = r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$";

/// The most exports of one application, and namespaces of one export.
pub const MOST_EXPORTS: usize = 128;

/// A map that pods of some namespaces may mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedMap {
    /// Name of the map in the object; `*` for all maps.
    #[schemars(length(max = 64), regex(pattern = MAP))]
    pub map: String,
    /// Namespaces of the pods that may mount it; `*` for all.
    #[schemars(length(min = 1, max = 128), inner(regex(pattern = NAMESPACE)))]
    pub namespaces: Vec<String>,
    /// What they may do.
    #[serde(default)]
    pub access: ExportedAccess,
}

/// What pods may do with a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExportedAccess {
    /// Read its entries.
    #[default]
    ReadOnly,
    /// Change them, too.
    ReadWrite,
}
