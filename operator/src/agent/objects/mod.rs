//! API objects as the agent stores them, and requests to read and write them.

pub mod application;
pub mod cluster;
pub mod machine;
pub mod revision;
pub mod selector;
pub mod state;
