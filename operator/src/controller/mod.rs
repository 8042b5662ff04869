//! The cluster controller: sums up what nodes say, deploys daemon and agent, and marks nodes.

pub mod projection;
pub mod text;
pub mod wire;
