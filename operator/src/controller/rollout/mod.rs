//! Rollouts of applications: collects the input of [`crate::rollout`] and executes its decisions.
//!
//! [`see`] turns the controller's memory into an observation, [`revisions`] manages the `ControllerRevision` objects,
//! [`orders`] writes annotations of state objects. They are written in the order revisions, status, orders, so that an
//! ordered revision exists, and a decision is recorded before an agent acts on it.

pub mod observe;
pub mod orders;
pub mod revisions;
pub mod round;
