//! Reconciliation of an application on one machine; the node agent and `bpfman apply` share this code.
//!
//! A spec and [`facts`] of the machine make a [`desired`] state ([`plan`]); its difference from the daemon's state
//! ([`step`]) becomes calls ([`reconcile`]), and their results a [`report`]. All state is in the daemon: programs and
//! links are found by their metadata.

pub mod ask;
pub mod content;
pub mod credentials;
pub mod daemon;
pub mod desired;
pub mod dry_run;
pub mod facts;
pub mod failure;
mod interfaces;
mod key;
pub mod node_reason;
mod observed;
mod place;
pub mod plan;
mod points;
mod probes;
mod program_plan;
pub mod reconcile;
pub mod report;
mod result;
mod run;
pub mod step;
mod step_results;
#[cfg(test)]
mod tests;
