//! Errors of images in this process: building, pushing, signing.

use std::io;

use bpfman_image_format::{
    BuildError, BytecodeError, LayoutError, PlatformError, SourceDateError, TlsFailure,
};
use bpfman_registry::{FetchError, KeyError, PushError, RegistryError, SaveError, SignError, VerifyError};
use bpfmand_image::{Category, ImageError};

use crate::exit::Exit;

/// A failed build, push or signature.
#[derive(Debug, thiserror::Error)]
pub enum LocalImageError {
    /// The image was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The environment has an invalid date.
    #[error(transparent)]
    Date(#[from] SourceDateError),
    /// The folder of built images cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The image was not pushed.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The image was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No signature of the key was found.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The image was not saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The object was not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The key is unusable or cannot be generated.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The registry cannot be reached with the given settings.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the memory of this process cannot be bounded: {0}")]
    Memory(#[source] io::Error),
    /// No signature of the identity was found.
    #[error("{0}")]
    Identity(String),
    /// The image could not be verified by its signatures.
    #[error(transparent)]
    Unverified(Box<ImageError>),
    #[error("no folder for the image can be created: {0}")]
    Folder(#[source] io::Error),
    #[error("{0}")]
    Worker(#[source] io::Error),
}

impl LocalImageError {
    /// Returns the exit code: 9 for a registry's failure, 6 for a wrong input, 5 for a missing file.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Registry(error) => of_registry(error),
            Self::Build(BuildError::Bytecode(BytecodeError::Read { source, .. })) => of_io(source),
            Self::Build(BuildError::Folder { source, .. }) => of_io(source),
            Self::Build(_) | Self::Date(_) => Exit::Invalid,
            Self::Layout(error) | Self::Push(PushError::Layout(error)) => of_layout(error),
            Self::Push(PushError::Digest(_)) => Exit::Invalid,
            Self::Push(PushError::Registry(error))
            | Self::Sign(SignError::Registry(error))
            | Self::Verify(VerifyError::Registry(error)) => of_registry(error),
            Self::Push(_) => Exit::Invalid,
            Self::Save(SaveError::Layout(error)) => of_layout(error),
            Self::Save(SaveError::Registry(error)) | Self::Fetch(FetchError::Registry(error)) => {
                of_registry(error)
            }
            Self::Save(SaveError::Archive { source, .. }) => of_io(source),
            Self::Save(SaveError::Malformed { .. }) => Exit::Registry,
            Self::Fetch(
                FetchError::Bytecode { .. } | FetchError::Platform { .. } | FetchError::Label { .. },
            ) => Exit::Invalid,
            Self::Fetch(_) => Exit::Registry,
            Self::Key(error) | Self::Sign(SignError::Key(error)) => match error {
                KeyError::Crypto(_) => Exit::Other,
                _ => Exit::Invalid,
            },
            Self::Sign(_) | Self::Verify(_) => Exit::Registry,
            Self::Unverified(error) => of_load(error),
            Self::Identity(_) => Exit::Registry,
            Self::Memory(_) | Self::Folder(_) => Exit::Other,
            Self::Worker(_) => Exit::Invalid,
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Layout(LayoutError::NoImage { .. })
            | Self::Push(PushError::Layout(LayoutError::NoImage { .. })) => {
                Some("build it first with `bpfman image build -t IMAGE`, or name its folder with --layout")
            }
            Self::Build(BuildError::Platform(PlatformError::FileName(_))) => Some(
                "run bpf2go with `-target amd64,arm64`, which names a file for each; `--bytecode FILE` takes one file for this \
                 machine's platform, whatever its name",
            ),
            Self::Key(KeyError::Encrypted(_)) | Self::Sign(SignError::Key(KeyError::Encrypted(_))) => {
                Some("`openssl pkcs8 -topk8 -nocrypt -in KEY -out PLAIN_KEY` writes a plain one")
            }
            Self::Key(KeyError::Cosign(_)) | Self::Sign(SignError::Key(KeyError::Cosign(_))) => {
                Some("COSIGN_PASSWORD holds its password")
            }
            Self::Push(PushError::Registry(error))
            | Self::Sign(SignError::Registry(error))
            | Self::Verify(VerifyError::Registry(error))
            | Self::Save(SaveError::Registry(error))
            | Self::Fetch(FetchError::Registry(error)) => hint_of(error, matches!(self, Self::Sign(_))),
            _ => None,
        }
    }
}

fn of_load(error: &ImageError) -> Exit {
    match error.category() {
        Category::NotFound => Exit::NotFound,
        Category::InvalidRequest => Exit::Invalid,
        Category::Storage | Category::Worker => Exit::Other,
        _ => Exit::Registry,
    }
}

fn of_io(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Other,
    }
}

fn of_layout(error: &LayoutError) -> Exit {
    match error {
        LayoutError::Io { source, .. } => of_io(source),
        LayoutError::NoImage { .. } => Exit::NotFound,
        _ => Exit::Invalid,
    }
}

fn of_registry(error: &RegistryError) -> Exit {
    match error {
        RegistryError::NotFound(_) => Exit::NotFound,
        RegistryError::Authorities(_) => Exit::Invalid,
        _ => Exit::Registry,
    }
}

fn hint_of(error: &RegistryError, signs: bool) -> Option<&'static str> {
    match error {
        RegistryError::Unauthorized { .. } => {
            Some("check the image's name; --registry-auth takes credentials as base64 of user:password")
        }
        RegistryError::Client(_) => Some("install the package ca-certificates"),
        RegistryError::NotFound(_) if signs => {
            Some("push the image first: a signature is made for what the registry has")
        }
        RegistryError::Unreachable { tls: Some(TlsFailure::NoTls), .. } => Some(
            "a registry without TLS is reached with --plain-http, or by plain_http = true in bpfman.toml",
        ),
        RegistryError::Unreachable { tls: Some(TlsFailure::Certificate), .. } => {
            Some("--ca-file names the certificate authority of the registry, as ca_file does in bpfman.toml")
        }
        _ => None,
    }
}
