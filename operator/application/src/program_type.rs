//! Program types in manifests: names of the table of `bpfman-model`, as serde and as schema.

use std::borrow::Cow;

use bpfman_model::ProgramType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Form of a program type in manifests of cluster applications, for serde's attribute `with`.
pub struct ManifestType;

impl ManifestType {
    /// Writes the name in manifests. Errors: manifests do not have the type.
    pub fn serialize<S: Serializer>(kind: &ProgramType, serializer: S) -> Result<S::Ok, S::Error> {
        let name = kind.manifest_name();
        name.ok_or_else(|| S::Error::custom(format!("manifests have no type {kind}")))?.serialize(serializer)
    }

    /// Reads the name in manifests. Errors: the name is unknown.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProgramType, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        ProgramType::of_manifest(&name)
            .ok_or_else(|| D::Error::unknown_variant(&name, &ProgramType::MANIFEST_NAMES))
    }

    /// Returns the names of the types that a block belongs to.
    #[must_use]
    pub fn of_block(block: &str) -> Vec<&'static str> {
        let of_block = ProgramType::ALL.into_iter().filter(|kind| kind.block() == Some(block));
        of_block.filter_map(ProgramType::manifest_name).collect()
    }
}

impl JsonSchema for ManifestType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ManifestType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ProgramType::MANIFEST_NAMES.as_slice() })
    }
}

/// Types of programs of namespaced applications; all other types affect the whole node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacedProgramType {
    /// Block `xdp`.
    #[serde(rename = "XDP")]
    Xdp,
    /// Block `tc`.
    #[serde(rename = "TC")]
    Tc,
    /// Block `tcx`.
    #[serde(rename = "TCX")]
    Tcx,
    /// Block `uprobe`.
    UProbe,
    /// Block `uretprobe`.
    URetProbe,
}

impl From<NamespacedProgramType> for ProgramType {
    fn from(kind: NamespacedProgramType) -> Self {
        match kind {
            NamespacedProgramType::Xdp => Self::Xdp,
            NamespacedProgramType::Tc => Self::Tc,
            NamespacedProgramType::Tcx => Self::Tcx,
            NamespacedProgramType::UProbe => Self::Uprobe,
            NamespacedProgramType::URetProbe => Self::Uretprobe,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_of_all_types_that_attach_alike() {
        assert_eq!(ManifestType::of_block("netns"), ["SkLookup", "FlowDissector"]);
        assert_eq!(ManifestType::of_block("xdp"), ["XDP"]);
        assert_eq!(ManifestType::of_block("cgroup").len(), 8);
        assert_eq!(ProgramType::Syscall.block(), None);
    }
}
