//! An application on one machine. The node agent and `bpfman apply` are the same code: this.
//!
//! Data flows one way: a spec and [`facts`] of the machine make a [`desired`] state ([`plan`]); what the daemon has is
//! compared with it ([`step`]); the difference becomes calls ([`reconcile`]); what came out is a [`report`]. The daemon
//! is the only memory: what belongs to an application is found by the metadata of its programs and links.

pub mod ask;
pub mod content;
pub mod credentials;
pub mod daemon;
pub mod desired;
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
pub mod trial;
pub mod wanted_point;
