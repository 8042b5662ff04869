//! Rollouts of simulated fleets: invariants under any behaviour of nodes, clocks, users and restarts.

mod absences;
mod fleet;
mod preflights;
mod properties;
mod scenarios;
