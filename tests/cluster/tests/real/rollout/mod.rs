//! Rollouts on a real API server with the real controller and client, and simulated agents.

mod agents;
mod clocks;
mod fleet;
mod kernels;
mod verdicts;
mod waves;
mod words;
