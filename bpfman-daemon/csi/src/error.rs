//! Errors of CSI calls. The kubelet writes them into the pod's events, so the pod's user reads them.

use std::io;
use std::path::PathBuf;

use bpfmand_engine::EngineError;

use crate::named_maps::NamedMapsError;
use bpfmand_kernel::KernelError;
use tonic::{Code, Status};

/// Refused or failed call. Its changes were undone, unless the error reports otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsiError {
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The program or a map does not exist. The kubelet retries, so a pod waits for its program.
    #[error(
        "{0}; the pod starts once it is loaded: `kubectl get clusterbpfapplicationstates,bpfapplicationstates -A` shows what keeps it"
    )]
    NotThere(NamedMapsError),
    #[error("{0}; correct csi.bpfman.io/maps in the pod, or load a version of the program that has the map")]
    NoMap(NamedMapsError),
    /// The application does not export the map to the pod.
    #[error(transparent)]
    NotExported(NamedMapsError),
    #[error("another call for volume \"{volume}\" is in progress; ask again when it is done")]
    Busy { volume: String },
    #[error("volume \"{volume}\" is already published at {} otherwise: {what}; unpublish it first", target.display())]
    Differs { volume: String, target: PathBuf, what: String },
    /// A mount at the target does not belong to this driver.
    #[error(
        "{} has a mount of type {file_system} (\"{source_name}\") that this driver did not make for volume \"{volume}\"; it was left as it is: unmount it if nothing needs it",
        target.display()
    )]
    Foreign {
        volume: String,
        target: PathBuf,
        /// File system type of the mount.
        file_system: String,
        source_name: String,
    },
    #[error("target path {} cannot be used: {why}", target.display())]
    Target { target: PathBuf, why: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("cannot {action} {}: {source}", path.display())]
    Files {
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        source: io::Error,
    },
    #[error("{cause}; and undoing it failed: {}; asking again tries to undo it first", failures.join("; "))]
    NotUndone { cause: Box<CsiError>, failures: Vec<String> },
}

impl From<NamedMapsError> for CsiError {
    fn from(error: NamedMapsError) -> Self {
        match error {
            NamedMapsError::Engine(error) => Self::Engine(error),
            NamedMapsError::NoMap { .. } => Self::NoMap(error),
            NamedMapsError::NotExported { .. } | NamedMapsError::NotForWriting { .. } => {
                Self::NotExported(error)
            }
            other => Self::NotThere(other),
        }
    }
}

impl CsiError {
    /// Returns the gRPC code; the only table from errors to codes.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotThere(_) | Self::NoMap(_) => Code::NotFound,
            Self::NotExported(_) => Code::PermissionDenied,
            Self::Busy { .. } => Code::Aborted,
            Self::Differs { .. } => Code::AlreadyExists,
            Self::Foreign { .. } | Self::Target { .. } => Code::FailedPrecondition,
            Self::Engine(_) | Self::Kernel(_) | Self::Files { .. } | Self::NotUndone { .. } => Code::Internal,
        }
    }
}

impl From<CsiError> for Status {
    fn from(error: CsiError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
