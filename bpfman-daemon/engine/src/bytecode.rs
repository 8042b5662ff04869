//! Where bytecode comes from: a local file, or an image.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{Credentials, PullPolicy};

use crate::{EngineError, ErrorKind};

/// The largest object file, in bytes.
pub const MAX_OBJECT: u64 = 16 << 20;

/// The kind of an image's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFailureKind {
    /// No such image, or not in the cache and not to be pulled.
    NotFound,
    /// The reference, manifest, layer or policy makes no sense.
    Malformed,
    /// The registry asks for other credentials.
    Denied,
    /// A signature is missing or wrong.
    Signature,
    /// The registry could not be asked.
    Registry,
    /// Above a limit.
    TooLarge,
    /// The cache's disk, or the daemon's own fault.
    Internal,
}

/// An image that cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageFailure {
    /// Its kind.
    pub kind: ImageFailureKind,
    /// What failed, on what, why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl ImageFailure {
    pub(crate) const fn error_kind(&self) -> ErrorKind {
        match self.kind {
            ImageFailureKind::NotFound => ErrorKind::NotFound,
            ImageFailureKind::Malformed => ErrorKind::Invalid,
            ImageFailureKind::Denied => ErrorKind::Denied,
            ImageFailureKind::Signature => ErrorKind::Signature,
            ImageFailureKind::Registry => ErrorKind::Registry,
            ImageFailureKind::TooLarge => ErrorKind::TooLarge,
            ImageFailureKind::Internal => ErrorKind::Internal,
        }
    }
}

/// Verified bytecode of an image.
#[derive(Clone, Debug)]
pub struct FetchedImage {
    /// The object file.
    pub bytes: Arc<[u8]>,
    /// Digest of the image, `sha256:…`.
    pub digest: String,
    /// The rule and signer that let it in.
    pub verified_by: String,
    /// What was verified, in the words of the room `image`: kept with the program, for that room to judge again when the
    /// policy has changed.
    pub evidence: String,
    /// Programs that the image's label names; empty if it has no such label.
    pub programs: Vec<String>,
}

/// An image that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct ImageAsk<'a> {
    /// Reference.
    pub url: &'a str,
    /// When the registry is asked.
    pub pull_policy: PullPolicy,
    /// For the registry.
    pub credentials: Option<&'a Credentials>,
    /// User id of the caller.
    pub caller_uid: u32,
}

/// Bytecode that was let in once, by its record.
#[derive(Clone, Copy, Debug)]
pub struct PastBytecode<'a> {
    /// Its hash, in hexadecimal digits.
    pub sha256: &'a str,
    /// Where it came from.
    pub source: PastSource<'a>,
}

/// Where bytecode came from.
#[derive(Clone, Copy, Debug)]
pub enum PastSource<'a> {
    /// A file of this machine.
    File {
        /// User id of who loaded it.
        caller_uid: u32,
    },
    /// A program that someone else had loaded.
    Adopted,
    /// An image.
    Image {
        /// Reference as asked for.
        url: &'a str,
        /// What was verified, in the words of the room `image`.
        evidence: &'a str,
    },
}

/// That bytecode was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// By what.
    pub why: String,
    /// True if the policy wants it attached nowhere; else it runs on where it does.
    pub detach: bool,
}

/// The room `image`, as the engine sees it. Calls block.
pub trait Images: Send + Sync {
    /// True if this user may load object files of this machine, which nobody has signed. Root only, unless a policy
    /// says otherwise.
    ///
    /// # Errors
    /// The policy cannot be read.
    fn allows_files(&self, uid: u32) -> Result<bool, ImageFailure> {
        Ok(uid == 0)
    }

    /// That bytecode which was trusted once was revoked since, if it was.
    ///
    /// # Errors
    /// The policy cannot be read.
    fn revocation(&self, _past: &PastBytecode<'_>) -> Result<Option<Revocation>, ImageFailure> {
        Ok(None)
    }

    /// Why bytecode that was let in once would not be let in now; none if it would.
    ///
    /// # Errors
    /// The policy cannot be read.
    fn refusal_now(&self, past: &PastBytecode<'_>) -> Result<Option<String>, ImageFailure> {
        Ok(self.revocation(past)?.map(|revocation| format!("it was revoked: {}", revocation.why)))
    }

    /// Fetches and verifies an image. `progress` hears of bytes so far and in all.
    ///
    /// # Errors
    /// It cannot be had or trusted.
    fn fetch(
        &self,
        ask: ImageAsk<'_>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure>;
}

/// No images at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoImages;

impl Images for NoImages {
    fn fetch(
        &self,
        ask: ImageAsk<'_>,
        _: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure> {
        Err(ImageFailure {
            kind: ImageFailureKind::Registry,
            message: format!("image {} cannot be fetched: this daemon has no image store", ask.url),
            hint: None,
        })
    }
}

/// Reads an object file from this machine. Users other than root may only name files of their own: the daemon could
/// read files that the caller could not.
pub fn read_file(path: &Path, caller_uid: u32, allowed: bool) -> Result<Arc<[u8]>, EngineError> {
    if !allowed {
        let who = if caller_uid == 0 { "the policy forbids it to root, too" } else { "only root may" };
        return Err(EngineError::Denied(format!(
            "user {caller_uid} may not load bytecode from file {}: {who}, unless [files] in policy.toml names the user",
            path.display()
        )));
    }
    if !path.is_absolute() {
        return Err(EngineError::Invalid(format!("bytecode path \"{}\" is not absolute", path.display())));
    }
    let fail = |source| EngineError::Bytecode { path: path.display().to_string(), source };
    // Before the open, which would wait at a pipe for somebody to write into it.
    let regular = |metadata: &std::fs::Metadata| {
        let message = || format!("bytecode {} is not a regular file", path.display());
        if metadata.is_file() { Ok(()) } else { Err(EngineError::Invalid(message())) }
    };
    regular(&std::fs::metadata(path).map_err(fail)?)?;
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    regular(&metadata)?;
    if caller_uid != 0 && metadata.uid() != caller_uid {
        return Err(EngineError::Denied(format!(
            "user {caller_uid} may not load bytecode from file {}: it belongs to user {}",
            path.display(),
            metadata.uid()
        )));
    }
    let too_large = |size| EngineError::TooLarge {
        what: format!("bytecode {}", path.display()),
        size,
        limit: MAX_OBJECT,
    };
    if metadata.len() > MAX_OBJECT {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(MAX_OBJECT + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_OBJECT {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes.into())
}
