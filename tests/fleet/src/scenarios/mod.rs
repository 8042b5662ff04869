//! Scenarios, run one after the other, with their checks.

pub mod apply;
pub mod fail;
pub mod few;
pub mod memory;
pub mod rename;
pub mod restart;
pub mod rollout;
pub mod split;
pub mod steady;
