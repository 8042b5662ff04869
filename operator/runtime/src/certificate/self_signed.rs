//! Self-made certificate that no client is configured to trust: the connection is encrypted nevertheless.

use std::time::Duration;

use thiserror::Error;

use super::{CertificateTerms, MakeError, make};
use crate::tls::{ServeError, Served};

/// Reason why there is no self-made certificate.
#[derive(Debug, Error)]
pub enum SelfSignedError {
    /// A name is invalid.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The certificate that was made cannot be used.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Makes one certificate after the other, for this process only. `now` returns seconds since 1970.
///
/// # Errors
/// Returns an error if a name is invalid.
pub async fn alone(
    names: &[String],
    terms: CertificateTerms,
    served: &Served,
    now: impl Fn() -> u64,
) -> Result<(), SelfSignedError> {
    loop {
        let made = make(names, now(), terms)?;
        served.serve(&made.certificate, &made.key)?;
        tokio::time::sleep(Duration::from_secs(terms.renew())).await;
    }
}
