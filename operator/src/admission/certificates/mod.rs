//! Certificates of the webhook: created here, stored in a Secret, and rotated while both the old and the new one are
//! trusted.
//!
//! A [`Generation`] is a certificate of the webhook and the authority that signed it. The authority's key is discarded
//! at once, so that it cannot sign another certificate. All controllers share the Secret and can serve. After two
//! thirds of a generation's lifetime, the next one is added and the API server is configured to trust both (`trust`).
//! `turn` serves the new one only after the configuration has had time to propagate, and removes the old one after
//! that. The API server thus never meets a certificate that it does not trust.

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
