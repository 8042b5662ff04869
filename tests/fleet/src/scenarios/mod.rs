//! What is done to the fleet, one after the other, and what has to hold.

pub mod apply;
pub mod fail;
pub mod few;
pub mod memory;
pub mod rename;
pub mod restart;
pub mod rollout;
pub mod split;
pub mod steady;
