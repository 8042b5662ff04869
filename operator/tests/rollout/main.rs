//! Rollouts over simulated fleets: what the decisions promise, whatever nodes, clocks, users and restarts do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fleet;
mod properties;
mod scenarios;
