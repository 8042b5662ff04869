//! Resolves the name of an image to bytecode that may run: pull, signature policy, content-addressed cache.
//!
//! [`ImageStore::load`] resolves a name to a digest and uses only digests from there on. It fetches what the cache
//! lacks, has the policy verify the signatures, and returns an object file with its verified signers. Nothing is
//! opened, connected or started before the first load. Object files of this machine do not pass through this crate.
//!
//! This crate has no HTTP client, TLS or signature code: the worker, `bpfman-worker`, asks registries and verifies, in
//! processes without rights.

mod access;
mod admission;
mod authorization_error;
mod blocking;
mod cache;
mod cache_writer;
mod category;
mod clock;
mod der;
mod error;
mod file_rule;
mod found_signatures;
mod hint;
mod identity;
mod import;
mod inventory;
mod key;
mod p256;
mod pattern;
mod policy;
mod policy_error;
mod policy_evaluation;
mod policy_file;
mod recheck;
mod request;
mod revoked;
mod session;
mod settings;
mod signature;
mod signature_place;
mod signature_source;
mod signers;
mod sink;
mod staging;
mod store;
mod trust_root;
mod turns;
mod unresponsive_mirrors;
mod untrusted;
mod verified_by;
mod version;
mod version_floors;
mod worker;

/// Messages between the daemon and its worker, `bpfman-worker`, which are of one version.
pub mod messages {
    pub use crate::found_signatures::FoundSignatures;
    pub use crate::settings::RepositoryPlace;
    pub use crate::signature::{Material, Signature};
    pub use crate::signature_place::{MAX_LAYERS, SignaturePlace, is_fault, is_unanswered};
    pub use crate::signature_source::SignatureSource;
    pub use crate::signers::CountedSigners;
    pub use crate::sink::Sink;
    pub use crate::worker::{
        BlobEvent, ConfigAnswer, DocumentAnswer, FetchAnswer, FetchQuestion, ReadConfig, SentError,
        SentSignatures, SourceQuestion, VerifyQuestion,
    };
}

pub use authorization_error::AuthorizationError;
pub use category::Category;
pub use error::ImageError;
pub use file_rule::FileRule;
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
pub use worker::{StartWorker, WorkerRole};
