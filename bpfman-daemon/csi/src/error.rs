//! What a call can answer instead of success. The kubelet writes it into the pod's events, so a pod's user reads it.

use std::io;
use std::path::PathBuf;

use bpfmand_engine::EngineError;

use crate::named_maps::NamedMapsError;
use bpfmand_kernel::KernelError;
use tonic::{Code, Status};

/// A refused or failed call. What it did was undone, unless the error says that undoing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsiError {
    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The program or a map is not there. The kubelet asks again, so a pod waits for its program.
    #[error(
        "{0}; the pod starts once it is loaded: `kubectl get clusterbpfapplicationstates,bpfapplicationstates -A` tells what keeps it"
    )]
    NotThere(NamedMapsError),
    /// The program is there, the map is not.
    #[error("{0}; correct csi.bpfman.io/maps in the pod, or load a version of the program that has the map")]
    NoMap(NamedMapsError),
    /// The application does not give the map to such pods.
    #[error(transparent)]
    NotExported(NamedMapsError),
    /// Another call works on the volume.
    #[error("another call for volume \"{volume}\" is in progress; ask again when it is done")]
    Busy {
        /// Which volume.
        volume: String,
    },
    /// The volume is there otherwise.
    #[error("volume \"{volume}\" is already published at {} otherwise: {what}; unpublish it first", target.display())]
    Differs {
        /// Which volume.
        volume: String,
        /// Where.
        target: PathBuf,
        /// How it is there.
        what: String,
    },
    /// Something is mounted that this driver did not mount.
    #[error(
        "{} has a mount of type {file_system} (\"{source_name}\") that this driver did not make for volume \"{volume}\"; it was left as it is: unmount it if nothing needs it",
        target.display()
    )]
    Foreign {
        /// Which volume.
        volume: String,
        /// Where.
        target: PathBuf,
        /// What is there.
        file_system: String,
        /// By which name.
        source_name: String,
    },
    /// The target cannot be used.
    #[error("target path {} cannot be used: {why}", target.display())]
    Target {
        /// As asked for.
        target: PathBuf,
        /// Why not.
        why: String,
    },
    /// The engine's answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The kernel's answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Files of the driver.
    #[error("cannot {action} {}: {source}", path.display())]
    Files {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A failure after which some steps could not be undone either.
    #[error("{cause}; and undoing it failed: {}; asking again tries to undo it first", failures.join("; "))]
    NotUndone {
        /// What went wrong first.
        cause: Box<CsiError>,
        /// What could not be undone.
        failures: Vec<String>,
    },
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
    /// The one table from failures to codes.
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
