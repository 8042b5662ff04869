//! Descriptors of network namespaces without cookies: while one is open, no other namespace gets its inode.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_model::NetnsId;

use super::{netns, netns_numbers};
use crate::KernelError;

#[derive(Debug, Default)]
pub struct HeldNamespaces(Mutex<BTreeMap<u64, Held>>);

#[derive(Debug)]
enum Held {
    Open {
        _file: OwnedFd,
        number: Option<u32>,
    },
    /// Released, because no path led to it. Another namespace may have its inode by now, but not its number.
    LetGo {
        number: Option<u32>,
    },
}

impl HeldNamespaces {
    pub fn retain(&self, is_recorded: impl Fn(u64) -> bool) {
        self.all().retain(|inode, _| is_recorded(*inode));
    }

    pub fn is_let_go(&self, inode: u64) -> bool {
        matches!(self.all().get(&inode), Some(Held::LetGo { .. }))
    }

    pub fn is_open(&self, inode: u64) -> bool {
        matches!(self.all().get(&inode), Some(Held::Open { .. }))
    }

    /// Holds the namespace at the path. If it lacks the recorded number, it only reuses the inode of one that ended.
    pub fn open(&self, inode: u64, path: &Path, recorded: Option<u32>) -> Result<(), KernelError> {
        let file = netns::open(path)?;
        let failed = |source| KernelError::call("hold", format!("network namespace {inode}"), source);
        if rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?.st_ino != inode {
            return Ok(());
        }
        // A number assigned now depends on the inode alone: only an earlier one identifies the recorded namespace.
        let number = match recorded {
            Some(_) => netns_numbers::lookup(&file),
            None => netns_numbers::number_of(&file, NetnsId { inode, cookie: 0 }).map(Some),
        };
        let number = match number {
            Ok(number) => number,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists) =>
            {
                None
            }
            Err(error) => return Err(failed(error)),
        };
        let held = match recorded {
            Some(recorded) if number != Some(recorded) => Held::LetGo { number: Some(recorded) },
            _ => Held::Open { _file: file, number },
        };
        self.all().insert(inode, held);
        Ok(())
    }

    pub fn let_go(&self, inode: u64, recorded: Option<u32>) {
        let mut all = self.all();
        let number = match all.get(&inode) {
            Some(Held::Open { number, .. } | Held::LetGo { number }) => *number,
            None => recorded,
        };
        all.insert(inode, Held::LetGo { number });
    }

    pub fn number_of_let_go(&self, netns: NetnsId) -> Option<u32> {
        match self.all().get(&netns.inode).filter(|_| netns.cookie == 0)? {
            Held::LetGo { number } => *number,
            Held::Open { .. } => None,
        }
    }

    /// Returns whether the path leads to the namespace; `None` if uncertain, since no number was recorded.
    pub fn presence_at(&self, path: &Path, netns: NetnsId) -> Result<Option<bool>, KernelError> {
        if netns.cookie != 0 || !self.is_let_go(netns.inode) {
            return Ok(Some(true));
        }
        let Some(number) = self.number_of_let_go(netns) else { return Ok(None) };
        let failed = |source| KernelError::call("identify", "a network namespace", source);
        Ok(Some(netns_numbers::lookup(&netns::open(path)?).map_err(failed)? == Some(number)))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
