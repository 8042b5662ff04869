//! Rollouts on a real API server with the real controller and client; the agents are simulated, and only report
//! results.

mod agents;
mod clocks;
mod fleet;
mod kernels;
mod verdicts;
mod waves;
mod words;
