//! Self-made certificate that no client is configured to trust: the connection is encrypted nevertheless.

use std::time::Duration;

use thiserror::Error;

use super::{CertificateTerms, MakeError, make};
use crate::tls::{ServeError, Served};

#[derive(Debug, Error)]
pub enum SelfSignedError {
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Makes one certificate after the other, for this process only. `now` returns seconds since 1970.
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
