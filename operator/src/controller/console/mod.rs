//! Read-only view of a fleet for the web console, restricted to the user's permissions.
//!
//! `kubectl bpfman console` connects through the API server's proxy to the Service and passes the user's token on. The
//! API server identifies the user and decides what they may see (`rights.rs`).

mod fleet;
mod node;
mod rights;
mod serve;

pub use fleet::FleetFacts;
pub use node::ExplainedNode;
pub use rights::{ConsoleRights, FleetPermissions};
pub use serve::{ConsoleQuestion, serve_console};
