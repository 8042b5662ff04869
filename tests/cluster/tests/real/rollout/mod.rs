//! Rollouts on a real API server: the real controller and the real client, with agents that only say what they would
//! have done.

mod agents;
mod clocks;
mod fleet;
mod kernels;
mod verdicts;
mod waves;
mod words;
