//! Rollouts over simulated fleets: what the decisions promise, whatever nodes, clocks, users and restarts do.

mod absences;
mod fleet;
mod preflights;
mod properties;
mod scenarios;
