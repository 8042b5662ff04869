//! Certificate of the TCP listener, from files that may be replaced while the daemon runs.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// Minimum interval between checks of the files.
const LOOK: Duration = Duration::from_secs(5);
/// Maximum size of each file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate, followed by intermediate certificates.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authorities of client certificates; `None` allows every client.
    pub client_ca: Option<PathBuf>,
}

/// Error of the certificate files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file lacks the expected content.
    #[error("{} has no {what} in PEM format", file.display())]
    Empty {
        /// Path of the file.
        file: PathBuf,
        /// Missing content.
        what: &'static str,
    },
    /// The file has invalid PEM.
    #[error("{}: {source}", file.display())]
    Pem {
        /// Path of the file.
        file: PathBuf,
        /// Error of the parser.
        source: rustls::pki_types::pem::Error,
    },
    /// The client authorities are unusable.
    #[error("{}: {source}", file.display())]
    Authorities {
        /// Path of the file.
        file: PathBuf,
        /// Error of the TLS library.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificate and key do not belong together.
    #[error("{} with {}: {source}", certificate.display(), key.display())]
    Pair {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// Error of the TLS library.
        source: rustls::Error,
    },
}

/// Stamps of the files: another inode, size or time means other content.
type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

/// Certificate that is reloaded when its files change.
pub struct TlsIdentity {
    files: TlsFiles,
    stamps: Stamps,
    looked: Instant,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads the files.
    ///
    /// # Errors
    /// Fails if they are unusable, with the reason.
    pub fn read(files: TlsFiles) -> Result<Self, TlsFileError> {
        let stamps = files.stamps();
        let acceptor = files.acceptor()?;
        Ok(Self { files, stamps, looked: Instant::now(), acceptor })
    }

    /// Returns the acceptor for the next connection. If the files become unusable, that is logged, and the former
    /// certificate stays in use.
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() >= LOOK {
            self.look();
        }
        self.acceptor.clone()
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        // Taken before the files are read, so that a concurrent change is noticed by the next check.
        let stamps = self.files.stamps();
        if stamps == self.stamps {
            return;
        }
        self.stamps = stamps;
        match self.files.acceptor() {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate for metrics was read again");
            }
            Err(error) => tracing::warn!(%error, "the certificate for metrics stays the one before"),
        }
    }
}

impl TlsFiles {
    fn stamps(&self) -> Stamps {
        let stamp = |file: &Path| {
            let found = fs::metadata(file).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .map(|file| file.and_then(|file| stamp(file)))
            .collect()
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsFileError> {
        let chain = certificates(&self.certificate)?;
        let pem = read(&self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|source| match source {
            rustls::pki_types::pem::Error::NoItemsFound => {
                TlsFileError::Empty { file: self.key.clone(), what: "private key" }
            }
            source => TlsFileError::Pem { file: self.key.clone(), source },
        })?;
        let pair = |source| TlsFileError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let clients = match &self.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(file) => {
                let fail = |source: Box<dyn std::error::Error + Send + Sync>| TlsFileError::Authorities {
                    file: file.clone(),
                    source,
                };
                let mut authorities = RootCertStore::empty();
                for certificate in certificates(file)? {
                    authorities.add(certificate).map_err(|error| fail(error.into()))?;
                }
                let provider = Arc::new(aws_lc_rs::default_provider());
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
                    .build()
                    .map_err(|error: VerifierBuilderError| fail(error.into()))?
            }
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsFileError> {
    let fail = |source| TlsFileError::Read { file: file.to_owned(), source };
    let found = fs::metadata(file).map_err(fail)?;
    if !found.is_file() || found.len() > MAX_FILE {
        let what = io::Error::other(format!("it is no file of at most {MAX_FILE} bytes"));
        return Err(fail(what));
    }
    fs::read(file).map_err(fail)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|source| TlsFileError::Pem { file: file.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsFileError::Empty { file: file.to_owned(), what: "certificate" });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn files(folder: &TempDir, certificate: &str, key: &str) -> TlsFiles {
        let files = TlsFiles {
            certificate: folder.path().join("tls.crt"),
            key: folder.path().join("tls.key"),
            client_ca: None,
        };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    #[test]
    fn files_that_are_no_certificate_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (_, other)) = (pair(), pair());
        let refusal = |files: &TlsFiles| TlsIdentity::read(files.clone()).unwrap_err().to_string();
        let good = files(&folder, &certificate, &key);
        assert!(TlsIdentity::read(good.clone()).is_ok());
        assert!(refusal(&files(&folder, "", &key)).ends_with("tls.crt has no certificate in PEM format"));
        assert!(
            refusal(&files(&folder, &certificate, "")).ends_with("tls.key has no private key in PEM format")
        );
        let broken = certificate.replacen('M', "*", 3);
        assert!(refusal(&files(&folder, &broken, &key)).contains("tls.crt: "));
        assert!(refusal(&files(&folder, &certificate, &other)).contains("tls.key: "));
        let mut without = files(&folder, &certificate, &key);
        without.client_ca = Some(folder.path().join("absent.pem"));
        assert!(refusal(&without).contains("cannot read") && refusal(&without).contains("absent.pem"));
        fs::write(folder.path().join("absent.pem"), "").unwrap();
        assert!(refusal(&without).contains("absent.pem has no certificate"));
    }

    #[test]
    fn replaced_certificate_is_read_again_and_a_broken_one_unused() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = pair();
        let mut identity = TlsIdentity::read(files(&folder, &certificate, &key)).unwrap();
        let before = Arc::clone(identity.acceptor().config());
        identity.look();
        assert!(Arc::ptr_eq(&before, identity.acceptor().config()), "nothing changed");
        files(&folder, "no certificate any more", &key);
        identity.look();
        assert!(Arc::ptr_eq(&before, identity.acceptor().config()), "the one before is used on");
        let (certificate, key) = pair();
        files(&folder, &certificate, &key);
        identity.look();
        assert!(!Arc::ptr_eq(&before, identity.acceptor().config()));
    }
}
