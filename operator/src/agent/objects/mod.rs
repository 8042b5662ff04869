//! Objects of the API server as the agent keeps them, and how they are read and written there.

pub mod application;
pub mod cluster;
pub mod machine;
pub mod revision;
pub mod selector;
pub mod state;
