//! Stored fields of each object: a few hundred bytes, with repeated text stored once.
//!
//! Pure: built from the objects as read ([`wire`]), and used by all decisions.

mod answer;
mod application;
mod node;
pub mod text;
pub mod wire;

pub use answer::{KeptFailure, NodeAnswer, NodeOutcome, STATE_FINALIZERS};
pub use application::{APPLICATION_FINALIZER, ApplicationId, TrackedApplication};
pub use node::{ClusterNode, READY_BOOT};
