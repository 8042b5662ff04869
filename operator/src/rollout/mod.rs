//! Rollouts: waves, gates, preflight and rollback. Pure: an [`Observation`] in, a [`RolloutDecision`] out.
//!
//! All state is in `status.rollout` and in annotations of the state objects ([`bpfman_application::orders`]), so that a
//! new controller continues where the last one stopped. `advance` moves the status, `place` derives each node's orders
//! from it. The status is written first: lost orders are derived again.

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
