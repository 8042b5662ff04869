//! Read-only view of a fleet for `kubectl bpfman console`. The API server identifies the user by the user's token, and
//! decides on permissions (`rights.rs`).

mod fleet;
mod node;
mod refused_sources;
mod rights;
mod serve;

pub use fleet::FleetFacts;
pub use node::ExplainedNode;
pub use rights::{ConsoleRights, FleetPermissions};
pub use serve::{ConsoleQuestion, serve_console};
