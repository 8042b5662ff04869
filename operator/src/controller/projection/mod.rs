//! Stored fields of each object ([`wire`]): a few hundred bytes, with repeated text stored once. Pure.

mod answer;
mod application;
mod node;
pub mod text;
pub mod wire;

pub use answer::{KeptFailure, NodeAnswer, NodeOutcome, STATE_FINALIZERS};
pub use application::{APPLICATION_FINALIZER, ApplicationId, TrackedApplication};
pub use node::{ClusterNode, READY_BOOT};
