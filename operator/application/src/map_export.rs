//! Maps that an application exports to pods by volumes of the CSI driver. An addition to the published API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pattern of map names: letters, digits, `_` and `.`, or `*` for all maps.
pub const MAP: &str = r"^(\*|[a-zA-Z0-9_.]+)$";

/// Pattern of namespace names (RFC 1123 labels), or `*` for all namespaces.
pub const NAMESPACE: &str = r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$";

/// Maximum number of exports of one application, and of namespaces of one export.
pub const MAX_EXPORTS: usize = 128;

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
    /// Access of these pods.
    #[serde(default)]
    pub access: ExportedAccess,
}

/// Access of pods to a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExportedAccess {
    /// Read its entries.
    #[default]
    ReadOnly,
    /// Change them, too.
    ReadWrite,
}
