//! An application on one machine. The node agent and `bpfman apply` are the same code: this.
//!
//! Data flows one way: a spec and [`facts`] of the machine make a [`desired`] state; what the daemon has is compared
//! with it; the difference becomes calls; what came out is a [`report`]. The daemon is the only memory: what belongs to
//! an application is found by the metadata of its programs and links.

pub mod desired;
pub mod facts;
pub mod report;
