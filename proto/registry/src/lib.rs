//! Access to registries for the client: push, save, fetch and sign images, and the keys that sign.
//!
//! The daemon links neither this crate nor an HTTP client. Its worker, `bpfman-worker`, talks to registries,
//! and uses this crate to parse token answers, TLS failures and lists of several pages.

mod authorization;
mod cosign_key;
mod fetch;
mod key;
mod list_pages;
mod oci_failure;
mod oci_transfer;
mod push;
mod referrer_pages;
mod registry;
mod registry_access;
mod registry_connection;
mod registry_error;
mod save;
mod sign;
mod tls_failure;
mod verify;

pub use cosign_key::CosignKeyError;
pub use fetch::{FetchError, FetchedLabels, FetchedObject, fetch_labels, fetch_object};
pub use key::{KeyError, PublicKey, SigningKey};
pub use list_pages::{ListPages, PageError};
pub use push::{PushError, push};
pub use registry_access::RegistryAccess;
pub use registry_connection::TokenAnswer;
pub use registry_error::RegistryError;
pub use save::{SaveError, Saved, archive, save};
pub use sign::{SignError, SignOutcome, SignProgress, SignStep, SignedImage, sign, sign_in_steps};
pub use tls_failure::tls_failure;
pub use verify::{SignedDigest, VerifyError, verify_by_key};
