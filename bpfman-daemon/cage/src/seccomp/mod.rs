//! Which system calls the daemon may make: tables, and nothing that does anything.

pub mod arguments;
pub mod call;
pub mod groups;
pub mod helpers;
pub mod refused;
