//! Custom resources of `bpfman.io/v1alpha1`, as Rust types and as definitions.
//!
//! Field names, rules and defaults are those of the published API, so that manifests stay valid; additions are
//! optional. Users write [`application`], [`rollout`] and [`config`]; nodes report [`state`]; the controller sends
//! [`orders`] to a node. [`scope`] has the names of the two kinds, [`crd`] the definitions. No Kubernetes client is
//! needed.

#![warn(missing_docs)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printer column names its type and path; clippy takes the second one for a repetition"
)]

pub mod application;
pub mod attachment;
pub mod bytecode;
pub mod check;
pub mod condition;
pub mod config;
pub mod crd;
pub mod deployment;
pub mod global_data;
pub mod interface;
pub mod labels;
pub mod map_export;
pub mod name;
pub mod orders;
pub mod packets;
pub mod place;
pub mod pods;
pub mod points;
pub mod probe;
pub mod program;
pub mod program_type;
pub mod rollout;
pub mod scope;
pub mod spec;
pub mod state;
pub mod summary;
pub mod tc;
pub mod tracing;
pub mod values;
pub mod xdp;

/// API group of every kind.
pub const GROUP: &str = "bpfman.io";

/// Only version of the group.
pub const VERSION: &str = "v1alpha1";
