//! Reports of a node: one state object for each application and node, named `<application>-<8 hex digits>`.

pub mod application;
pub mod link;
pub mod name;
pub mod node;
pub mod points;
pub mod program;

use schemars::{Schema, SchemaGenerator, json_schema};

/// Label of a state object with the name of its application.
pub const OWNED_BY_LABEL: &str = "bpfman.io/ownedByProgram";

/// Label of a state object with the name of its node.
pub const NODE_LABEL: &str = "kubernetes.io/hostname";

/// Returns the schema of an unsigned id. The published int32 would make newer servers reject larger ids.
fn id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": 4_294_967_295_u32 })
}
