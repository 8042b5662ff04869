//! The node agent: translates applications into calls of the daemon, and results into state objects.
//!
//! Unprivileged: it uses the API server and the daemon's socket. Events ([`watch`]) update [`memory`] and queue the
//! affected applications. A reconciliation ([`mod@reconcile`]) brings the daemon's programs to the wanted state, and
//! writes the status if it differs. No state is needed over a restart: the daemon knows what is loaded.
//!
//! Each module uses only those above it in this list:
//!
//! - [`objects`], [`gates`], [`status`]: reading, evaluating and writing objects. Stateless.
//! - [`memory`]: watched state. [`mod@figures`]: resource usage of programs, on request.
//! - [`shared`]: calls to API server and daemon, status writes.
//! - [`node`], [`registry`], [`watch`]: facts about the node, registry credentials, and event sources.
//! - [`rollout`]: preflights and soaks. [`mod@reconcile`]: one application as a whole.
//! - [`cni`]: pods that wait for their attachments. [`mod@run`]: assembles all parts.

pub mod cni;
pub mod figures;
pub mod gates;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod objects;
pub mod options;
pub mod reconcile;
pub mod registry;
pub mod rollout;
pub mod run;
mod serve;
pub mod shared;
pub mod status;
pub mod watch;

pub use self::run::{Agent, client_of_agent, run};
pub use self::shared::Shared;
