//! Tests of the program, its packaging, and rollouts on a simulated fleet.
#![allow(clippy::unwrap_used, reason = "tests")]

mod deployment;
mod packaging;
mod program;
mod rollout;
