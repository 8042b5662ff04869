//! Certificates of a server: self-made, or from files.

mod from_files;
mod make;
mod self_signed;

pub use from_files::{GivenCertificate, GivenError};
pub use make::{MakeError, make};
pub use self_signed::alone;

use serde::{Deserialize, Serialize};

/// Certificate of a server with its key and authority. Texts are PEM, times seconds since 1970.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Creation time. The certificate is valid from an hour before, because clocks differ.
    pub created: u64,
    /// End of validity.
    pub not_after: u64,
    pub authority: String,
    pub certificate: String,
    /// Private key of the server.
    pub key: String,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is left out.
        write!(f, "Generation({}..{})", self.created, self.not_after)
    }
}

impl Generation {
    /// Returns whether the certificate is valid at a time.
    #[must_use]
    pub const fn is_valid(&self, now: u64) -> bool {
        self.created.saturating_sub(make::SKEW) <= now && now < self.not_after
    }
}

/// Lifetime of certificates.
#[derive(Clone, Copy, Debug)]
pub struct CertificateTerms {
    /// Validity, in seconds.
    pub seconds: u64,
}

impl CertificateTerms {
    /// Returns the age at which the next certificate is made, in seconds.
    #[must_use]
    pub const fn renew(self) -> u64 {
        self.seconds * 2 / 3
    }

    /// Returns the time between publishing a new authority and using it, in seconds: API servers must know it first.
    #[must_use]
    pub const fn settle(self) -> u64 {
        let share = self.seconds / 12;
        if share > 600 { 600 } else { share + 1 }
    }

    /// Returns the interval at which the certificate is checked, in seconds.
    #[must_use]
    pub const fn tick(self) -> u64 {
        let share = self.settle() / 4;
        if share > 60 { 60 } else { share + 1 }
    }
}
