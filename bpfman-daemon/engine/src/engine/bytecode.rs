//! Sources of bytecode: a local file, or an image.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{Credentials, PullPolicy, Reason};
use rustix::fs::{FileType, Mode, OFlags};

use crate::EngineError;
use crate::error::ImageFailure;
use crate::state::records::ProgramRecord;

pub const MAX_OBJECT: u64 = bpfmand_object::MAX_OBJECT_BYTES as u64;

/// Verified bytecode of an image.
#[derive(Clone, Debug)]
pub struct FetchedImage {
    /// The object file.
    pub bytes: Arc<[u8]>,
    /// Digest of the image, `sha256:…`.
    pub digest: String,
    /// Policy rule and signer by which the image was verified.
    pub verified_by: String,
    /// Evidence of the verification: the crate `image` evaluates it again under a new policy.
    pub evidence: String,
    /// Programs that the image's label names; empty if it has no such label.
    pub programs: Vec<String>,
}

/// Request for an image.
#[derive(Clone, Copy, Debug)]
pub struct ImageAsk<'a> {
    pub url: &'a str,
    pub pull_policy: PullPolicy,
    /// Credentials for the registry.
    pub credentials: Option<&'a Credentials>,
    pub caller_uid: u32,
}

/// Revocation of bytecode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub why: String,
    /// True if the policy requires programs of this bytecode to be detached. Otherwise they stay attached.
    pub detach: bool,
}

/// Interface to the crate `image`. Calls block.
pub trait Images: Send + Sync {
    /// Returns whether this user may load local object files, which have no signature: by default only root.
    fn allows_files(&self, uid: u32) -> Result<bool, ImageFailure> {
        Ok(uid == 0)
    }

    /// Returns the revocation of the bytecode of a loaded program, if it was revoked.
    fn revocation(&self, _program: &ProgramRecord) -> Result<Option<Revocation>, ImageFailure> {
        Ok(None)
    }

    /// Returns the reason why the current policy would refuse the bytecode of a loaded program, if it would.
    fn refusal_now(&self, program: &ProgramRecord) -> Result<Option<String>, ImageFailure> {
        Ok(self.revocation(program)?.map(|revocation| format!("it was revoked: {}", revocation.why)))
    }

    /// Fetches and verifies an image. `progress` is called with the bytes received so far and the total.
    fn fetch(
        &self,
        ask: ImageAsk<'_>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure>;
}

/// Image source that refuses all images.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoImages;

impl Images for NoImages {
    fn fetch(
        &self,
        ask: ImageAsk<'_>,
        _: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure> {
        Err(ImageFailure {
            kind: Reason::Registry,
            message: format!("image {} cannot be fetched: this daemon has no image store", ask.url),
            hint: None,
        })
    }
}

/// Reads a local object file. Other users than root must own it: the daemon can read files that they cannot.
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
    let file = match open_regular(path) {
        Ok(Some(file)) => file,
        // The same error as for a missing file: otherwise the caller could probe paths that it cannot read.
        Ok(None) | Err(_) if caller_uid != 0 => return Err(not_owned_by_caller(path, caller_uid)),
        Ok(None) => {
            return Err(EngineError::Invalid(format!("bytecode {} is not a regular file", path.display())));
        }
        Err(source) => return Err(fail(source)),
    };
    let metadata = file.metadata().map_err(fail)?;
    if caller_uid != 0 && metadata.uid() != caller_uid {
        return Err(not_owned_by_caller(path, caller_uid));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(MAX_OBJECT) as usize);
    file.take(MAX_OBJECT + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_OBJECT {
        let (what, size) = (format!("bytecode {}", path.display()), metadata.len().max(MAX_OBJECT + 1));
        return Err(EngineError::TooLarge { what, size, limit: MAX_OBJECT });
    }
    Ok(bytes.into())
}

fn not_owned_by_caller(path: &Path, caller_uid: u32) -> EngineError {
    EngineError::Denied(format!(
        "user {caller_uid} may not load bytecode from file {}: it is no regular file that belongs to this user",
        path.display()
    ))
}

/// Opens a regular file; `None` for anything else: opening a pipe can block, opening a device can have side effects.
/// The checked file is the one that is opened, even if the path changes in between.
fn open_regular(path: &Path) -> std::io::Result<Option<File>> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if !FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode).is_file() {
        return Ok(None);
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(Some(rustix::fs::open(again, flags, Mode::empty())?.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::fs::{CWD, RenameFlags, mknodat, renameat_with};

    use super::*;

    #[test]
    fn file_replaced_by_a_pipe_blocks_no_caller() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pipe) = (folder.path().join("object.o"), folder.path().join("pipe"));
        std::fs::write(&path, "object").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let exchange = {
            let (path, pipe, stop) = (path.clone(), pipe.clone(), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, &path, CWD, &pipe, RenameFlags::EXCHANGE).unwrap();
                }
            }
        };
        let exchanging = std::thread::spawn(exchange);
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..20_000 {
                match read_file(&path, 0, true) {
                    Ok(bytes) => assert_eq!(&bytes[..], b"object"),
                    Err(error) => assert!(error.to_string().contains("not a regular file"), "{error}"),
                }
            }
            done.send(()).unwrap();
        });
        let all = ended.recv_timeout(Duration::from_secs(60));
        stop.store(true, Ordering::Relaxed);
        exchanging.join().unwrap();
        all.expect("every read ends");
    }

    #[test]
    fn users_get_equal_errors_for_unreadable_files() {
        let folder = tempfile::tempdir().unwrap();
        let (file, pipe) = (folder.path().join("of-root.o"), folder.path().join("pipe"));
        std::fs::write(&file, "object").unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let other = std::fs::metadata(&file).unwrap().uid() + 1;
        let answers = [&*file, &*pipe, folder.path(), &folder.path().join("absent"), Path::new("/dev/null")]
            .map(|path| {
                read_file(path, other, true)
                    .unwrap_err()
                    .to_string()
                    .replace(&*path.to_string_lossy(), "PATH")
            });
        assert!(answers[0].contains("no regular file that belongs to this user"), "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}
