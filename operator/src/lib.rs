//! Kubernetes side of bpfman: translates custom resources into calls of each node's daemon, and results into status.
//!
//! - [`agent`]: one per node, unprivileged; connects the API server with the daemon's socket.
//! - [`controller`]: one per cluster; aggregates node status, deploys daemon and agent, taints nodes.
//! - [`rollout`]: waves, gates, preflight and rollback; a state machine without I/O, driven by the controller.
//! - [`admission`]: validates what a schema cannot express.
//! - [`clock`]: the API server's time, shared by all controllers.
//! - [`clean`]: removes what is left on a node after daemon and agent were removed.
//! - [`figures`]: resource usage of a node's programs, passed from the agent to `kubectl-bpfman`.
//! - [`client`]: the commands of `kubectl-bpfman`.
//!
//! Code that these modules share is in `bpfman-runtime`.

pub mod admission;
pub mod agent;
pub mod clean;
pub mod client;
pub mod clock;
pub mod controller;
pub mod figures;
pub mod rollout;
