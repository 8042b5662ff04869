//! Refuses what the schemas cannot: a validating webhook, served by every controller.
//!
//! - [`application`]: what is wrong with an application, alone ([`image`], [`rollout`], [`interfaces`]) and among the
//!   others ([`order`]).
//! - [`state`]: who may write which state object; [`identity`] says which node an agent is on.
//! - [`certificates`]: made here, kept in a Secret, replaced before they end.
//! - [`serve`]: reviews in, answers out, over TLS.
//!
//! docs/admission.md lists every refusal with what to do about it.

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
