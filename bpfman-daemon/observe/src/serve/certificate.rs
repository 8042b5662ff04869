//! Certificate of the TCP listener, from files that may be replaced while the daemon runs. A worker parses it.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_frames::tls::{TlsFault, TlsPem};
use bpfmand_frames::{Answering, WorkerLink};

const LOOK: Duration = Duration::from_secs(5);
const MAX_FILE: u64 = 1 << 20;
/// Maximum time of a check by a worker.
const CHECK: Duration = Duration::from_secs(10);

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate, followed by intermediate certificates.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Authorities of client certificates; `None` allows every client.
    pub client_ca: Option<PathBuf>,
}

/// Starter of workers that speak TLS.
pub trait StartTls: std::fmt::Debug + Send + Sync {
    /// Starts a worker for one client, or for a check of an identity. Must wait for nothing but the kernel. After the
    /// messages, its socket is the plain connection of the client.
    ///
    /// # Errors
    /// Fails if the kernel refuses, or if the process that starts workers has ended.
    fn start_tls(&self, client: Option<BorrowedFd<'_>>) -> io::Result<WorkerLink>;
}

/// Error of the certificate files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    #[error("cannot read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The file lacks the expected content.
    #[error("{} {why}", file.display())]
    Content { file: PathBuf, why: String },
    #[error("{} with {}: {why}", certificate.display(), key.display())]
    Pair { certificate: PathBuf, key: PathBuf, why: String },
    #[error("the certificate for metrics cannot be checked: {0}")]
    Worker(io::Error),
}

/// Stamps of the files: another inode, size or time means other content.
type Stamps = Vec<Option<(u64, u64, i64, i64)>>;

/// Certificate that is read again when its files change.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    files: TlsFiles,
    stamps: Stamps,
    looked: Instant,
    pem: Arc<TlsPem>,
    pub(super) workers: Arc<dyn StartTls>,
}

impl TlsIdentity {
    /// Reads the files, and has a worker check them. Fails if they are unusable, with the reason.
    pub fn read(files: TlsFiles, workers: Arc<dyn StartTls>) -> Result<Self, TlsFileError> {
        let stamps = files.stamps();
        let pem = Arc::new(files.checked(&*workers)?);
        Ok(Self { files, stamps, looked: Instant::now(), pem, workers })
    }

    /// Returns the identity for the next connection.
    pub(super) fn pem(&self) -> Arc<TlsPem> {
        Arc::clone(&self.pem)
    }

    pub(super) fn is_due(&self) -> bool {
        self.looked.elapsed() >= LOOK
    }

    /// Checks the files; this waits for a worker if they changed. If they became unusable, that is logged, and the former
    /// certificate stays in use.
    pub(super) fn look(&mut self) {
        self.looked = Instant::now();
        // Taken before the files are read, so that a concurrent change is noticed by the next check.
        let stamps = self.files.stamps();
        if stamps == self.stamps {
            return;
        }
        let checked = self.files.checked(&*self.workers);
        // Without a worker, the files are unchecked: check them again at the next call.
        if !matches!(checked, Err(TlsFileError::Worker(_))) {
            self.stamps = stamps;
        }
        match checked {
            Ok(pem) => {
                self.pem = Arc::new(pem);
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

    fn checked(&self, workers: &dyn StartTls) -> Result<TlsPem, TlsFileError> {
        let client_ca = self.client_ca.as_deref().map(read).transpose()?;
        let pem = TlsPem { certificate: read(&self.certificate)?, key: read(&self.key)?, client_ca };
        match ask(workers, &pem).map_err(TlsFileError::Worker)? {
            Ok(()) => Ok(pem),
            Err(fault) => Err(self.refusal(fault)),
        }
    }

    fn refusal(&self, fault: TlsFault) -> TlsFileError {
        let content = |file: &Path, why| TlsFileError::Content { file: file.to_owned(), why };
        match fault {
            TlsFault::Certificate(why) => content(&self.certificate, why),
            TlsFault::Key(why) => content(&self.key, why),
            TlsFault::ClientCa(why) => content(self.client_ca.as_ref().unwrap_or(&self.certificate), why),
            TlsFault::Pair(why) => {
                TlsFileError::Pair { certificate: self.certificate.clone(), key: self.key.clone(), why }
            }
        }
    }
}

fn ask(workers: &dyn StartTls, pem: &TlsPem) -> io::Result<Result<(), TlsFault>> {
    let link = workers.start_tls(None)?;
    link.stream.set_read_timeout(Some(CHECK))?;
    link.stream.set_write_timeout(Some(CHECK))?;
    let mut asking = Answering::new(link.stream);
    asking.say(pem)?;
    asking.hear()
}

fn read(file: &Path) -> Result<String, TlsFileError> {
    let fail = |source| TlsFileError::Read { file: file.to_owned(), source };
    let found = fs::metadata(file).map_err(fail)?;
    if !found.is_file() || found.len() > MAX_FILE {
        let what = io::Error::other(format!("it is no file of at most {MAX_FILE} bytes"));
        return Err(fail(what));
    }
    // Comments beside the blocks may be of any encoding.
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(fail)
}
