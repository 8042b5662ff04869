//! A certificate where nothing is reviewed: metrics are encrypted also then.

use std::time::{Duration, Instant};

use super::super::tls::Served;
use super::{CertificateTerms, make};
use crate::clock::ServerClock;

/// Makes one certificate after the other, each for this process alone: nobody is told whom to trust.
///
/// # Errors
/// A name is none.
pub async fn alone(
    names: &[String],
    terms: CertificateTerms,
    served: &Served,
    clock: &ServerClock,
) -> anyhow::Result<()> {
    loop {
        served.serve(&make(names, clock.at(Instant::now()).seconds(), terms)?)?;
        tokio::time::sleep(Duration::from_secs(terms.renew())).await;
    }
}
