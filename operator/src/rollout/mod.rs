//! Rollouts: waves, gates, preflight and rollback. Pure: an [`Observation`] in, a [`RolloutDecision`] out.
//!
//! All state is in the application's `status.rollout` and in the annotations of the state objects
//! ([`bpfman_application::orders`]), so that a new controller continues where the last one stopped. A decision has two
//! parts: `advance` moves the status as far as the observation allows, `place` derives each node's orders from the new
//! status. The status is written before the orders: orders that are lost in between are derived again.

mod advance;
mod amounts;
mod clock;
pub mod command;
mod count;
mod decide;
mod node_order;
mod observation;
mod place;
pub mod revision;
mod trial;
mod turn;

pub use clock::UnixSeconds;
pub use decide::{Event, RolloutDecision, clear, decide};
pub use observation::{NodeHealth, Observation, RolloutNode};
