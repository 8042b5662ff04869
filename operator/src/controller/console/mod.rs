//! What the console shows of a fleet, to whom the API server lets see it.
//!
//! `kubectl bpfman console` asks through the API server's own proxy to the Service, and passes the user's token on: who the
//! user is and what they may see is the API server's word (`rights.rs`). Nothing is changed here.

mod fleet;
mod node;
mod rights;
mod serve;

pub use fleet::FleetFacts;
pub use node::ExplainedNode;
pub use rights::{ConsoleRights, FleetSight};
pub use serve::{ConsoleQuestion, serve_console};
