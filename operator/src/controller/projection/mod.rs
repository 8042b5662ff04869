//! What the controller keeps of each object: a few hundred bytes, with text that repeats held once.
//!
//! Pure: made from what was read ([`super::wire`]), and read by everything that decides.

mod answer;
mod application;
mod node;

pub use answer::{Answer, Failure, Health, Orders, Outcome, STATE_FINALIZERS, Trial};
pub use application::{APPLICATION_FINALIZER, Application, ApplicationId};
pub use node::{Node, READY_BOOT};
