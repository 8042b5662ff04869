//! The Kubernetes side of bpfman: it turns objects into calls of each node's daemon, and answers into objects.
//!
//! - [`agent`]: one on every node, without privileges; API server on one side, the daemon's socket on the other.
//! - [`controller`]: one in the cluster; sums up what nodes say, deploys daemon and agent, marks nodes.
//! - [`rollout`]: waves, gates, preflight and rollback; a state machine without I/O, driven by the controller.
//! - [`admission`]: refuses what a schema cannot.
//! - [`clock`]: what time it is for all controllers.
//! - [`clean`]: takes away what is left on a node when all of it went.
//! - [`figures`]: what a node's programs take, between agent and `kubectl-bpfman`.
//! - [`client`]: what `kubectl-bpfman` asks and shows.
//!
//! What these have in common is in `bpfman-runtime`.

pub mod admission;
pub mod agent;
pub mod clean;
pub mod client;
pub mod clock;
pub mod controller;
pub mod figures;
pub mod rollout;
