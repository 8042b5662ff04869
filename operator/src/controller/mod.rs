//! The cluster controller: sums up what nodes say, deploys daemon and agent, and marks nodes.
