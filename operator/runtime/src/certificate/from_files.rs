use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;
use tracing::{info, warn};

use crate::tls::{ServeError, Served};

/// Interval between two reads of the files. The kubelet takes up to a minute to update a changed Secret.
const LOOK: Duration = Duration::from_secs(5);

/// Files of a certificate and its key, as PEM.
#[derive(Args, Clone, Debug)]
pub struct GivenCertificate {
    /// The certificate of /metrics as PEM, with those that lead to its authority; absent: the process makes its own
    #[arg(long, value_name = "FILE", requires = "metrics_key")]
    pub metrics_certificate: Option<PathBuf>,
    /// Its key as PEM
    #[arg(long, value_name = "FILE", requires = "metrics_certificate")]
    pub metrics_key: Option<PathBuf>,
}

/// Reason why a certificate from files is not served.
#[derive(Debug, Error)]
pub enum GivenError {
    /// A file cannot be read.
    #[error("reading {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("{} with {}: {}", .0.display(), .1.display(), .2)]
    Serve(PathBuf, PathBuf, ServeError),
}

impl GivenCertificate {
    /// Returns the files, if they are configured.
    #[must_use]
    pub fn files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = (self.metrics_certificate.clone()?, self.metrics_key.clone()?);
        Some(CertificateFiles { certificate, key })
    }
}

#[derive(Clone, Debug)]
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl CertificateFiles {
    /// Serves the files and their changes. Fails only if the first files are unusable; after later errors,
    /// the last usable certificate stays.
    pub async fn keep(&self, served: &Served) -> Result<Infallible, GivenError> {
        self.read(served).await?;
        let mut said = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.read(served).await {
                Ok(true) => info!(certificate = %self.certificate.display(), "the certificate was replaced"),
                Ok(false) => {}
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        warn!(error = text, "the certificate before is served on");
                    }
                    said = Some(text);
                    continue;
                }
            }
            said = None;
        }
    }

    async fn read(&self, served: &Served) -> Result<bool, GivenError> {
        let read = async |file: &PathBuf| {
            tokio::fs::read_to_string(file).await.map_err(|error| GivenError::Read(file.clone(), error))
        };
        let (certificate, key) = (read(&self.certificate).await?, read(&self.key).await?);
        let of = |error| GivenError::Serve(self.certificate.clone(), self.key.clone(), error);
        served.serve(&certificate, &key).map_err(of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::{CertificateTerms, make};
    use super::*;

    #[tokio::test]
    async fn replaced_files_are_served_and_the_old_ones_while_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
        };
        let served = Served::default();
        let error = files.keep(&served).await.unwrap_err().to_string();
        assert!(error.contains("tls.crt") && error.contains("No such file"), "{error}");
        let one = || make(&["agent".to_owned()], 1_800_000_000, CertificateTerms { seconds: 60 }).unwrap();
        let (first, second) = (one(), one());
        std::fs::write(&files.certificate, &first.certificate).unwrap();
        std::fs::write(&files.key, "nothing").unwrap();
        let error = files.keep(&served).await.unwrap_err().to_string();
        assert!(error.contains("tls.key") && error.contains("PEM") && !served.has_one(), "{error}");

        std::fs::write(&files.key, &first.key).unwrap();
        assert!(files.read(&served).await.unwrap() && served.has_one());
        assert!(!files.read(&served).await.unwrap(), "it is the same");
        std::fs::write(&files.certificate, &second.certificate).unwrap();
        let error = files.read(&served).await.unwrap_err().to_string();
        assert!(error.contains("cannot be used") && served.has_one(), "{error}");
        std::fs::write(&files.key, &second.key).unwrap();
        assert!(files.read(&served).await.unwrap());
    }
}
