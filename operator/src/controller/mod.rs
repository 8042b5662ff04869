//! The cluster controller: sums up what nodes say, deploys daemon and agent, and marks nodes.
//!
//! Watches ([`watches`]) feed [`memory`]; what an application comes to is worked out by [`decide::summarize`], at most once
//! a second each (`bpfman_runtime::queue`), and written only if it differs; [`rollout`] says which node runs which
//! revision. [`run`] is the loop around all of it, [`deploy`] a loop of its own beside it. Several controllers may run;
//! [`write::leader`] says which one acts.
//!
//! Each folder knows those above it in this list, and none below:
//!
//! - [`metrics`], [`projection`]: figures; what is kept of each object.
//! - [`memory`]: the cluster as it is known.
//! - [`mod@write`]: whether this controller may write, and how.
//! - [`decide`]: from what is known of an application to its status. Pure.
//! - [`nodes`]: taints, and what is left of nodes that are gone.
//! - [`rollout`], [`deploy`]: waves of revisions; daemon and agent themselves.
//! - [`console`]: what is known, for people. It changes nothing.

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
