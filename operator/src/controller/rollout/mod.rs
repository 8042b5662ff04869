//! Rollouts of applications: what the decisions of [`crate::rollout`] are made from, and how they are carried out.
//!
//! [`see`] turns the controller's memory into an observation, [`revisions`] keeps the `ControllerRevision` objects,
//! [`orders`] writes annotations of state objects. The order of writes is revisions, status, orders: what a node is
//! told to run exists, and what was decided is known before anyone acts on it.

pub mod orders;
pub mod revisions;
pub mod round;
pub mod see;
