//! What users write.

pub mod application;
pub mod bytecode;
pub mod condition;
pub mod config;
pub mod interface;
pub mod name;
pub mod pods;
pub mod probe;
pub mod program;
pub mod state;
pub mod tc;
pub mod tracing;
pub mod xdp;

/// API group of every kind.
pub const GROUP: &str = "bpfman.io";

/// Its only version.
pub const VERSION: &str = "v1alpha1";
