//! Rollouts of applications: collects the input of [`crate::rollout`] ([`observe`]), executes its decisions.
//!
//! Written in the order revisions ([`revisions`]), status, orders ([`orders`]): an ordered revision exists, and a
//! decision is recorded before an agent acts on it.

pub mod observe;
pub mod orders;
pub mod revisions;
pub mod round;
