//! The cluster controller: aggregates node status, deploys daemon and agent, and taints nodes.
//!
//! Watches ([`watches`]) feed [`memory`]. [`decide::summarize`] runs at most once a second per application, and a
//! status is written only if it differs. [`run`] is the loop, [`deploy`] a separate one. Several controllers may run;
//! [`write::leader`] elects the one that acts.
//!
//! Each module uses only those above it in this list:
//!
//! - [`metrics`], [`projection`]: metrics; the stored fields of each object.
//! - [`memory`]: the known state of the cluster.
//! - [`mod@write`]: leader election, and writes to the API server.
//! - [`decide`]: computes the status of an application. Pure.
//! - [`nodes`]: taints, and the state objects of deleted nodes.
//! - [`rollout`], [`deploy`]: waves of revisions; daemon and agent themselves.
//! - [`console`]: read-only view for users.

pub mod console;
pub mod decide;
pub mod deploy;
pub mod flags;
pub mod memory;
pub mod metrics;
pub mod nodes;
pub mod projection;
pub mod rollout;
pub mod run;
mod start;
pub mod watches;
pub mod write;

pub use flags::ControllerFlags;
pub use start::start;
