//! Rollouts over simulated fleets: what the decisions promise, whatever nodes, clocks, users and restarts do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod absences;
mod fleet;
mod preflights;
mod properties;
mod scenarios;
