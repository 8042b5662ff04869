//! What a caller may adopt. The daemon reaches every link of the machine, its clients do not.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bpfmand_core::KernelLinkId;
use rustix::fs::OFlags;

use crate::EngineError;

/// Only root may name a link by its id: the kernel gives links by id to nobody else either.
pub fn may_name_link(id: KernelLinkId, caller_uid: u32) -> Result<(), EngineError> {
    if caller_uid == 0 {
        return Ok(());
    }
    Err(EngineError::Denied(format!(
        "user {caller_uid} may not adopt link {id}: only root may name a link by its id; others name a pin of their own"
    )))
}

/// A pin that the caller may name.
pub struct NamedPin {
    path: PathBuf,
    /// Holds the very file that was looked at.
    file: Option<File>,
}

impl NamedPin {
    /// Root may name every pin, others their own. They are not told whether there is one that is not theirs.
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

    /// Where to open it: a path of one's own may lead to another pin a moment later, the file held here does not.
    pub fn path(&self) -> PathBuf {
        match &self.file {
            None => self.path.clone(),
            Some(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
        }
    }
}
