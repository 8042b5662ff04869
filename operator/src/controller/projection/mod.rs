//! What the controller keeps of each object: a few hundred bytes, with text that repeats held once.
//!
//! Pure: made from what was read ([`wire`]), and read by everything that decides.

mod answer;
mod application;
mod node;
pub mod text;
pub mod wire;

pub use answer::{KeptFailure, NodeAnswer, NodeOutcome, STATE_FINALIZERS};
pub use application::{APPLICATION_FINALIZER, ApplicationId, TrackedApplication};
pub use node::{ClusterNode, READY_BOOT};
