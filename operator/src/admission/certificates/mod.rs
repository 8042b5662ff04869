//! Certificates of the webhook: made here, kept in a Secret, and replaced while both the old and the new one are trusted.
//!
//! A [`Generation`] is a certificate of the webhook and the authority that signed it, whose key is thrown away at once:
//! nobody can sign another one with it. All controllers share the Secret, so all of them can serve. When a generation
//! has lived for two thirds of its time, the next one is added, and the API server is told to trust both
//! (`trust`). Only when it was told long enough ago does `turn` serve the new one, and only when that is done does
//! the old one go. No request meets a certificate that the API server does not know yet, or no more.

mod keep;
mod store;
mod trust;
mod turn;

pub use keep::Keeper;
pub use trust::CONFIGURATION;
pub use turn::{CertificateMoment, CertificateTurn};

use bpfman_runtime::certificate::Generation;

/// The authorities of generations, as one text.
#[must_use]
pub fn bundle(generations: &[Generation]) -> String {
    generations.iter().map(|generation| generation.authority.as_str()).collect()
}
