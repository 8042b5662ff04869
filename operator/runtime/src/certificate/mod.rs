//! Certificates of a server: made here, or given as files.

mod alone;
mod given;
mod make;

pub use alone::alone;
pub use given::{GivenCertificate, GivenError};
pub use make::{MakeError, make};

use serde::{Deserialize, Serialize};

/// A certificate of a server with all that belongs to it. Texts are PEM, times seconds since 1970.
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

/// Times of certificates.
#[derive(Clone, Copy, Debug)]
pub struct CertificateTerms {
    /// How long one is valid.
    pub seconds: u64,
}

impl CertificateTerms {
    /// The age at which the next one is made.
    #[must_use]
    pub const fn renew(self) -> u64 {
        self.seconds * 2 / 3
    }

    /// How long the API servers have, after they were told of an authority, until they have to trust it.
    #[must_use]
    pub const fn settle(self) -> u64 {
        let share = self.seconds / 12;
        if share > 600 { 600 } else { share + 1 }
    }

    /// How often this is looked at.
    #[must_use]
    pub const fn tick(self) -> u64 {
        let share = self.settle() / 4;
        if share > 60 { 60 } else { share + 1 }
    }
}
