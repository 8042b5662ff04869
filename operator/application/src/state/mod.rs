//! What a node answers: one state object for each application and node, named `<application>-<8 hex digits>`.

pub mod application;
pub mod link;
pub mod name;
pub mod node;
pub mod points;
pub mod program;

use schemars::{Schema, SchemaGenerator, json_schema};

/// The label of a state object that names its application.
pub const OWNED_BY_LABEL: &str = "bpfman.io/ownedByProgram";

/// The label of a state object that names its node.
pub const NODE_LABEL: &str = "kubernetes.io/hostname";

/// The schema of an id: 32 bits without a sign. The published one calls it int32, which API servers of 1.20 pass over;
/// newer ones hold it to that and would refuse every status with a greater id.
fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": 4_294_967_295_u32 })
}
