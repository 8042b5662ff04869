//! Rollouts: waves, gates, preflight and rollback. Pure: an [`Observation`] in, a [`RolloutDecision`] out.
//!
//! All memory is in the application's `status.rollout` and in the annotations of the state objects
//! ([`bpfman_application::orders`]), so that a controller that starts goes on where the last one was. Two parts work one
//! after the other: `advance` moves the status as far as what was seen allows, `place` tells from the new status
//! what each node is to do. The status is written before the orders: whatever is lost in between is decided again.

mod advance;
mod amounts;
mod clock;
pub mod command;
mod count;
mod decide;
mod line;
mod observation;
mod place;
pub mod revision;
mod trial;
mod turn;

pub use clock::Moment;
pub use decide::{Event, RolloutDecision, clear, decide};
pub use observation::{NodeHealth, Observation, RolloutNode};
