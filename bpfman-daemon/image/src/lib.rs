//! From the name of an image to bytecode that may run: pull, signature policy, content-addressed cache.
//!
//! [`ImageStore::load`] is the way in. It resolves a name to a digest, and from then on speaks of digests only;
//! it fetches what the cache lacks, asks the policy whether the signatures suffice, and hands out an object file
//! together with what was verified by whom. Nothing is opened, connected or started before the first load, and
//! files on this machine never pass through here.

mod blocking;
mod cache;
mod challenge;
mod error;
mod layer;
mod manifest;
mod pattern;
mod policy;
mod policy_file;
mod redirect;
mod registry;
mod request;
mod session;
mod signature;
mod store;

pub use error::{Category, ImageError};
pub use pattern::{Pattern, PatternError};
pub use policy::{
    Decision, LegacySigning, Mode, Policy, Requirement, Rule, TrustedKey, TrustedKeyError, VerifiedBy,
};
pub use policy_file::{PolicyError, PolicyFile};
pub use request::{ImageRequest, Limits, PullPolicy, PullPolicyError, VerifiedImage};
pub use store::ImageStore;
