//! Certificates of the webhook: made here, kept in a Secret, and replaced while both the old and the new one are trusted.
//!
//! A [`Generation`] is a certificate of the webhook and the authority that signed it, whose key is thrown away at once:
//! nobody can sign another one with it. All controllers share the Secret, so all of them can serve. When a generation
//! has lived for two thirds of its time, the next one is added, and the API server is told to trust both
//! (`trust`). Only when it was told long enough ago does `turn` serve the new one, and only when that is done does
//! the old one go. No request meets a certificate that the API server does not know yet, or no more.

mod alone;
mod keep;
mod make;
mod store;
mod trust;
mod turn;

pub use alone::alone;
pub use keep::Keeper;
pub use make::{MakeError, make};
pub use trust::CONFIGURATION;
pub use turn::{CertificateMoment, CertificateTerms, CertificateTurn};

use serde::{Deserialize, Serialize};

/// A certificate of the webhook with all that belongs to it. Texts are PEM, times seconds since 1970.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// When it was made. It is valid from an hour before: clocks differ.
    pub created: u64,
    /// When it ends.
    pub not_after: u64,
    /// The authority.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        write!(f, "Generation({}..{})", self.created, self.not_after)
    }
}

impl Generation {
    /// Whether a clock that says this takes it.
    #[must_use]
    pub const fn is_valid(&self, now: u64) -> bool {
        self.created.saturating_sub(make::SKEW) <= now && now < self.not_after
    }
}

/// The authorities of generations, as one text.
#[must_use]
pub fn bundle(generations: &[Generation]) -> String {
    generations.iter().map(|generation| generation.authority.as_str()).collect()
}
