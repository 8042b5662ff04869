//! Access control for adoption: the daemon can open every link of the machine, its clients must not.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bpfman_model::KernelLinkId;
use rustix::fs::OFlags;

use crate::EngineError;

/// Refuses link ids from callers other than root: the kernel also restricts opening links by id to root.
pub fn may_name_link(id: KernelLinkId, caller_uid: u32) -> Result<(), EngineError> {
    if caller_uid == 0 {
        return Ok(());
    }
    Err(EngineError::Denied(format!(
        "user {caller_uid} may not adopt link {id}: only root may name a link by its id; others name a pin of their own"
    )))
}

pub struct NamedPin {
    path: PathBuf,
    file: Option<File>,
}

impl NamedPin {
    /// Finds any pin for root, an own pin for other users. The error does not reveal whether another user's pin exists.
    pub fn find(path: &Path, caller_uid: u32) -> Result<Self, EngineError> {
        if caller_uid == 0 {
            return Ok(Self { path: path.to_owned(), file: None });
        }
        let file = OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(path);
        let owned = file.and_then(|file| Ok((file.metadata()?.uid() == caller_uid).then_some(file)));
        match owned {
            Ok(Some(file)) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Ok(None) | Err(_) => Err(EngineError::Denied(format!(
                "user {caller_uid} may not adopt what is pinned at {}: it is no pin of that user; only root may name \
                 those of others",
                path.display()
            ))),
        }
    }

    /// Returns a path to the open file: the caller can replace the pin at its path, but not the file.
    pub fn path(&self) -> PathBuf {
        match &self.file {
            None => self.path.clone(),
            Some(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
        }
    }
}
