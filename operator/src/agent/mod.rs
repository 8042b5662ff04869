//! The node agent: applications of its node turned into calls of the daemon, and what came out into state objects.
//!
//! It needs no privileges: it talks to the API server and to the daemon's socket. What watches and the daemon's stream
//! say ([`watch`]) is kept ([`memory`]); whatever changes puts the applications concerned into a queue. A reconcile
//! ([`mod@reconcile`]) makes the daemon's programs what one of them wants, and writes the status that follows, if it is
//! another one than the last ([`status`]). Nothing is remembered that a restart would miss: what is loaded, the daemon knows.
//!
//! Each folder knows those above it in this list, and none below:
//!
//! - [`objects`], [`gates`], [`status`]: what is read, judged and said. No state.
//! - [`memory`]: what is known. [`mod@figures`]: what programs take, for who asks.
//! - [`shared`]: the agent's parts: calls to the API server and the daemon, and writing a status.
//! - [`node`], [`registry`], [`watch`]: what is true here, as whom a registry is asked, and what changes.
//! - [`rollout`]: preflights and soaks.
//! - [`mod@reconcile`]: one application, as a whole.
//! - [`cni`]: pods that wait for theirs.
//! - [`mod@run`]: all of it, put together.

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
