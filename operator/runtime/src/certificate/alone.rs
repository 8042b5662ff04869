//! A certificate that nobody is told to trust: what is served is encrypted also then.

use std::time::Duration;

use thiserror::Error;

use super::{CertificateTerms, MakeError, make};
use crate::tls::{ServeError, Served};

/// Why there is no certificate of one's own.
#[derive(Debug, Error)]
pub enum AloneError {
    /// A name is none.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// What was made is not one.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Makes one certificate after the other, each for this process alone. `now`: seconds since 1970.
///
/// # Errors
/// A name is none.
pub async fn alone(
    names: &[String],
    terms: CertificateTerms,
    served: &Served,
    now: impl Fn() -> u64,
) -> Result<(), AloneError> {
    loop {
        let made = make(names, now(), terms)?;
        served.serve(&made.certificate, &made.key)?;
        tokio::time::sleep(Duration::from_secs(terms.renew())).await;
    }
}
