//! Tests on a real Kubernetes API server, with their infrastructure: servers, clients, tokens, nodes.
//!
//! A server and its etcd run in a network namespace of their own (`tests/kube/up`), in which each has the same
//! addresses. The test's own client connects by [`connect`]; programs that must reach the server, or be reached by
//! it, are started inside ([`operator`]). Daemons need neither: they talk to agents over a socket file, and may be in
//! any network namespace.
//!
//! If Kubernetes is not in the cache, a test prints `SKIPPED(kube-apiserver): <test>` and passes; `tests/kube/build`
//! builds it, or uses the one in `BPFMAN_KUBE`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "equipment of tests: a failure here fails the test"
)]
#![allow(missing_docs, reason = "equipment of tests: documented where the name does not say it")]

pub mod accounts;
pub mod cluster;
pub mod connect;
pub mod connections;
pub mod helm;
pub mod manifests;
pub mod node;
pub mod objects;
pub mod operator;
mod pool;
pub mod requests;
pub mod retry;
pub mod scripts;
pub mod server;
pub mod tokens;
pub mod wait;

pub use cluster::{Cluster, Setup};
pub use helm::Helm;
pub use node::Node;
pub use operator::Operator;
