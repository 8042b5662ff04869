//! Certificates of the webhook: created here, stored in a Secret, rotated while both old and new one are trusted.
//!
//! A [`Generation`] is a certificate and the authority that signed it, whose key is discarded at once. All controllers
//! share the Secret. After two thirds of a generation's lifetime the API server is configured to trust the next one
//! too (`trust`); `turn` serves it after a propagation delay and then removes the old one.

mod keep;
mod store;
mod trust;
mod turn;

pub use keep::CertificateRenewer;
pub use trust::CONFIGURATION;
pub use turn::{CertificateMoment, CertificateRotation};

use bpfman_runtime::certificate::Generation;

/// Concatenates the authorities of generations.
#[must_use]
pub fn bundle(generations: &[Generation]) -> String {
    generations.iter().map(|generation| generation.authority.as_str()).collect()
}
