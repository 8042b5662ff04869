//! Validating webhook, served by every controller: refuses errors that schemas cannot express.
//!
//! - [`application`]: an application, alone ([`image`], [`rollout`], [`interfaces`]) and with others ([`order`]).
//! - [`state`]: decides who may write which state object; [`identity`] determines the node of an agent.
//! - [`certificates`]: created here, stored in a Secret, rotated before they expire.
//!
//! docs/admission.md lists all refusals and their remedies.

pub mod application;
pub mod certificates;
pub mod flags;
pub mod identity;
pub mod image;
pub mod interfaces;
pub mod known;
pub mod order;
pub mod review;
pub mod rollout;
pub mod serve;
mod start;
pub mod state;
pub mod verdict;

pub use flags::AdmissionFlags;
pub use start::run;
