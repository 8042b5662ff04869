//! Network namespace of the current call: its path was checked before, but may lead elsewhere when opened.

use std::cell::Cell;

use bpfman_model::NetnsId;

use crate::EngineError;

thread_local! {
    static INODE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Network namespace of a caller, who holds it open.
#[derive(Debug)]
pub struct CallersNetwork;

struct Former(Option<u64>);

impl Drop for Former {
    fn drop(&mut self) {
        INODE.set(self.0);
    }
}

impl CallersNetwork {
    /// Runs `work`, which acts at hooks of the namespace with this inode only.
    pub fn during<T>(inode: Option<u64>, work: impl FnOnce() -> T) -> T {
        let _former = Former(INODE.replace(inode));
        work()
    }

    pub(crate) fn ensure(found: Option<NetnsId>) -> Result<(), EngineError> {
        match (INODE.get(), found) {
            (Some(own), Some(found)) if found.inode != own => Err(EngineError::Denied(
                "the path leads to another network namespace than the caller's by now: it was changed meanwhile".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
