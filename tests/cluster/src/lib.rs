//! Tests on a real Kubernetes API server, and what they need: servers of their own, clients, tokens, nodes.
//!
//! A server and its etcd run in a network namespace of their own (`tests/kube/up`), where each has the same addresses.
//! The test's own client gets in by [`connect`]; programs that have to reach the server, or be reached by it, are
//! started inside ([`operator`]). Daemons need neither: they talk to agents by a socket that is a file, and may be in
//! any network namespace.
//!
//! Without Kubernetes in the cache a test prints `SKIPPED(kube-apiserver): <test>` and passes; `tests/kube/build`
//! builds it, or takes the one that `BPFMAN_KUBE` names.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "equipment of tests: a failure here fails the test"
)]

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
