use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use tracing::{info, warn};

use super::super::flags::FailurePolicy;
use super::store::{CertificateStore, CertificateStoreError};
use super::trust::trust;
use super::{CertificateMoment, CertificateRotation, bundle};
use crate::clock::ServerClock;
use bpfman_runtime::certificate::{CertificateTerms, make};
use bpfman_runtime::tls::Served;

/// Delay before a failed first check is repeated: no request is reviewed before the check succeeds.
const SOON: Duration = Duration::from_millis(500);

/// Keeps the served certificate valid and trusted.
pub struct CertificateRenewer {
    client: Client,
    store: CertificateStore,
    names: Vec<String>,
    policy: Option<FailurePolicy>,
    terms: CertificateTerms,
    served: Arc<Served>,
    clock: ServerClock,
    turn: CertificateRotation,
}

impl CertificateRenewer {
    /// Creates the check for a webhook with these names.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        names: Vec<String>,
        policy: Option<FailurePolicy>,
        terms: CertificateTerms,
        served: Arc<Served>,
        clock: ServerClock,
    ) -> Self {
        let store = CertificateStore::new(client.clone(), namespace);
        Self { client, store, names, policy, terms, served, clock, turn: CertificateRotation::default() }
    }

    /// Checks forever.
    pub async fn run(mut self) {
        loop {
            let checked = self.check().await;
            let wait = match checked {
                Ok(()) => Duration::from_secs(self.terms.tick()),
                Err(error) => {
                    warn!(%error, "the certificates of admission are not as they should be; it is tried again");
                    SOON.max(Duration::from_secs(if self.served.has_one() { self.terms.tick() } else { 0 }))
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn check(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (mut generations, secret) = self.store.read().await?;
        // Read the clock after the response, which sets it to the API server's time.
        let own = Instant::now();
        let now = CertificateMoment { server: self.clock.at(own).seconds(), own };
        let mut wanted = self.turn.needed(&generations, now, self.terms);
        if CertificateRotation::is_due(&wanted, now, self.terms) {
            wanted.push(make(&self.names, now.server, self.terms)?);
        }
        if wanted != generations {
            match self.store.write(secret, &wanted).await {
                Ok(()) => {
                    info!(generations = wanted.len(), "the certificates of admission changed");
                    generations = wanted;
                }
                Err(CertificateStoreError::Raced) => generations = self.store.read().await?.0,
                Err(error) => return Err(error.into()),
            }
        }
        let trusted = trust(&self.client, &bundle(&generations), self.policy).await;
        if let Ok(trusted) = &trusted {
            self.turn.see(&generations, trusted, now);
        }
        // Serve even if the configuration could not be written: another client may write it.
        if let Some(generation) = self.turn.serve(&generations, now, self.terms) {
            self.served.serve(&generation.certificate, &generation.key)?;
        }
        trusted.map(drop).map_err(Into::into)
    }
}
