//! Resolves the name of an image to bytecode that may run: pull, signature policy, content-addressed cache.
//!
//! [`ImageStore::load`] resolves a name to a digest and uses only digests from there on. It fetches what the cache
//! lacks, has the policy verify the signatures, and returns an object file with its verified signers. Nothing is
//! opened, connected or started before the first load. Object files of this machine do not pass through this crate.

mod access;
mod admission;
mod authorization_error;
mod blocking;
mod bundle;
mod cache;
mod cache_writer;
mod category;
mod challenge;
mod clock;
mod endpoint;
mod error;
mod file_rule;
mod find_signatures;
mod found_signatures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod helper;
mod hint;
mod identity;
mod import;
mod inventory;
mod key;
mod pace;
mod pattern;
mod policy;
mod policy_error;
mod policy_evaluation;
mod policy_file;
mod private;
mod reach;
mod recheck;
mod redirect;
mod refusal;
mod registry;
mod request;
mod resolver;
mod retry;
mod revoked;
mod session;
mod settings;
mod signature;
mod signature_source;
mod signers;
mod simple_signing;
mod staging;
mod store;
mod trust_root;
mod turns;
mod unpack;
mod unresponsive_mirrors;
mod untrusted;
mod verified_by;
mod version;
mod version_floors;

pub use authorization_error::AuthorizationError;
pub use category::Category;
pub use error::ImageError;
pub use file_rule::FileRule;
pub use helper::{HelperLink, HelperRole, HelperThreads, StartHelper, serve_helper};
pub use identity::{IdentityError, TrustedIdentity};
pub use import::{ImportOutcome, Imported};
pub use inventory::{Bounds, CachedImage, Collected};
pub use key::{TrustedKey, TrustedKeyError};
pub use pattern::{Pattern, PatternError};
pub use policy::{LegacySigning, Mode, Policy, PolicyDecision, PolicyRule, Requirement};
pub use policy_file::PolicyFile;
pub use request::{Caller, FetchPolicy, ImageRequest, Limits, VerifiedImage};
pub use revoked::{Revoked, RevokedRunning};
pub use settings::{Authorities, RegistrySetting, RegistrySettings};
pub use signers::Signers;
pub use store::ImageStore;
pub use trust_root::{TrustRoot, TrustRootError};
pub use untrusted::{EvidenceError, SignatureError, TooFewSigners, UntrustedReason};
pub use verified_by::{Evidence, Signed, Signer, VerifiedBy};
