//! The Kubernetes side of bpfman: it turns objects into calls of each node's daemon, and answers into objects.
//!
//! - [`agent`]: one on every node, without privileges; API server on one side, the daemon's socket on the other.
//! - [`controller`]: one in the cluster; sums up what nodes say, deploys daemon and agent, marks nodes.
//! - [`rollout`]: waves, gates, preflight and the way back; a state machine without I/O, driven by the controller.
//! - [`admission`]: refuses what a schema cannot.
//! - [`connect`]: the one connection to the API server that agent and controller have.
//! - [`backoff`]: how long both wait before the next try.
//! - [`manager`]: under which names all of them write.
//! - [`clean`]: takes away what is left on a node when all of it went.
//! - [`client`]: what `kubectl-bpfman` asks and shows.

pub mod admission;
pub mod agent;
pub mod backoff;
pub mod clean;
pub mod client;
pub mod connect;
pub mod controller;
pub mod manager;
pub mod rollout;
